"""The conversation: question, streamed answer, and the passages it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import streamlit as st

from frontend.client import Answer, ServiceError, Source
from frontend.markup import inert
from frontend.session import ended, service

HINT = "Ask a question of your documents"


def page() -> None:
    """Show the conversation so far and take the next question."""
    _conversations()
    messages: list[dict[str, Any]] = st.session_state.setdefault("messages", [])
    if not messages:
        _welcome()
    for message in messages:
        _show(message)
    if question := st.chat_input(HINT, max_chars=4000):
        _ask(question, messages)


def _welcome() -> None:
    st.subheader("What would you like to know?")
    st.caption("Answers come from your documents only, and name the passages they rest on.")


def _show(message: dict[str, Any]) -> None:
    with st.chat_message(message["role"]):
        st.markdown(inert(message["text"]))
        _sources(message["sources"])


def _ask(question: str, messages: list[dict[str, Any]]) -> None:
    messages.append({"role": "user", "text": question, "sources": []})
    _show(messages[-1])
    answer = Answer(conversation_id=st.session_state.get("conversation"))
    with st.chat_message("assistant"):
        try:
            _stream(question, answer)
        except ServiceError as error:
            if ended(error):
                st.rerun()
            st.error(str(error))
            return
    st.session_state["conversation"] = answer.conversation_id
    messages.append({"role": "assistant", "text": answer.text, "sources": answer.sources})


def _stream(question: str, answer: Answer) -> None:
    place = st.empty()
    place.caption("Searching your documents …")
    for _ in service().ask(question, answer):
        # Rendered from the whole text each time: escaping a piece alone could split what belongs together.
        place.markdown(inert(answer.text) + " ▌")
    place.markdown(inert(answer.text))
    _sources(answer.sources)


def _sources(sources: list[Source]) -> None:
    for number, source in enumerate(sources, start=1):
        with st.expander(f"{number} · {inert(source.title)}", icon=":material/description:"):
            st.text(source.passage)
            st.caption(f"Score {source.score:.2f}")


def _conversations() -> None:
    with st.sidebar:
        if st.button("New conversation", icon=":material/add:", width="stretch"):
            _open(None, [])
            st.rerun()
        for item in _recent():
            current = item["id"] == st.session_state.get("conversation")
            title = inert(item["title"])[:60]
            if st.button(title, key=f"open-{item['id']}", width="stretch", type="secondary", disabled=current):
                _open(item["id"], list(_history(item["id"])))
                st.rerun()


def _recent() -> list[dict[str, Any]]:
    try:
        return service().conversations()[:15]
    except ServiceError as error:
        if ended(error):
            st.rerun()
        st.caption(str(error))
        return []


def _history(conversation_id: str) -> Iterator[dict[str, Any]]:
    for message in service().conversation(conversation_id)["messages"]:
        sources = [Source.from_json(item) for item in message.get("sources") or []]
        yield {"role": message["role"], "text": message["text"], "sources": sources}


def _open(conversation_id: str | None, messages: list[dict[str, Any]]) -> None:
    st.session_state["conversation"] = conversation_id
    st.session_state["messages"] = messages
