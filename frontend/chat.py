"""The conversation: question, streamed answer, and the passages it rests on."""

from __future__ import annotations

import streamlit as st

from frontend import history, look
from frontend.atwork import at_work
from frontend.client import Answer, ServiceError, Source
from frontend.markup import answered, inert, mark
from frontend.messages import Message, from_answer, in_reading_order, last_question, unanswered
from frontend.session import ended, service

HINT = "Ask a question of your documents"
# The service refuses longer ones.
LONGEST = 2000


def page() -> None:
    """Show the conversation so far and take the next question."""
    messages = history.current()
    history.sidebar()
    welcome = st.empty()
    if why := st.session_state.pop("missing", None):
        st.info(why, icon=":material/search_off:")
    for message in messages:
        _show(message)
    question = st.chat_input(HINT, max_chars=LONGEST, submit_mode="stop")
    if question or (question := st.session_state.pop("again", None)):
        _ask(question, messages)
    elif not messages:
        with welcome.container(key="welcome"):
            _welcome()
    elif unanswered(messages) or "problem" in st.session_state:
        _not_answered(last_question(messages))


def _welcome() -> None:
    st.image(look.MARK, width=48)
    st.markdown("## What would you like to know?")
    st.caption("Answers come from your documents only, and name the passages they rest on.")
    try:
        counts = service().documents(limit=1)["counts"]
    except ServiceError as error:
        if ended(error):
            st.rerun()
        return
    _what_there_is(counts)


def _what_there_is(counts: dict[str, int]) -> None:
    if ready := counts.get("ready", 0):
        st.caption(f":material/check_circle: {ready:,} {'document' if ready == 1 else 'documents'} ready to be asked")
    elif counts:
        st.caption(":material/hourglass_top: Your documents are being read; the first ones are ready in a moment.")
    else:
        st.info("There are no documents yet. Add some on the page Documents, then ask.", icon=":material/folder_open:")


def _not_answered(question: str) -> None:
    problem = st.session_state.pop("problem", "This question was not answered.")
    with st.container(key="not-answered"):
        st.warning(problem, icon=":material/error:")
        st.button("Try again", icon=":material/refresh:", on_click=_again, args=[question])


def _again(question: str) -> None:
    st.session_state["again"] = question


def _show(message: Message) -> None:
    if message.role == "user":
        with st.chat_message("user", avatar=look.PERSON):
            st.markdown(inert(message.text))
        return
    with st.chat_message("assistant", avatar=look.MARK):
        _answer(message)


def _answer(message: Message) -> None:
    if not message.found:
        with st.container(border=True):
            st.markdown(f":material/search_off: {inert(message.text)}")
            st.caption("Try other words, or add the document that has the answer.")
        return
    st.markdown(answered(message.text, [source.n for source in message.sources]))
    _sources(message.sources)


def _ask(question: str, messages: list[Message]) -> None:
    if unanswered(messages) != question:
        messages.append(Message("user", question))
        _show(messages[-1])
    answer = Answer(conversation_id=st.session_state.get("conversation"))
    try:
        with at_work(), st.chat_message("assistant", avatar=look.MARK):
            _stream(question, answer)
    except ServiceError as error:
        if ended(error):
            st.rerun()
        st.session_state["problem"] = str(error)
    finally:
        # Also when the person stops it or goes elsewhere: what was read stays on the page, as the service keeps it.
        if answer.text:
            messages.append(from_answer(answer))
    st.rerun()


def _stream(question: str, answer: Answer) -> None:
    place = st.empty()
    place.caption(":material/manage_search: Searching your documents …")
    for _ in service().ask(question, answer):
        if answer.conversation_id and answer.conversation_id != st.session_state.get("conversation"):
            history.name(answer.conversation_id)
        # Rendered from the whole text each time: escaping a piece alone could split what belongs together.
        place.markdown(answered(answer.text, [source.n for source in answer.sources]) + " ▌")


def _sources(sources: list[Source]) -> None:
    if not sources:
        return
    cited = sum(source.cited for source in sources)
    st.caption("Sources" if cited else "The answer cites none of the passages it was given:")
    for source in in_reading_order(sources):
        place = f" — {inert(source.place)}" if source.place else ""
        with st.expander(f"{mark(source.n, cited=source.cited)} \u2002**{inert(source.document)}**{place}"):
            st.text(source.passage)
            if cited and not source.cited:
                st.caption("The model was given this passage, but the answer does not cite it.")
