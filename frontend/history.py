"""The conversations: which one is open, the list in the sidebar, and the address that leads back to it.

The address bar names the open conversation, so a reload, a reconnect and the browser's back button all show it.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from frontend.client import ServiceError
from frontend.markup import inert
from frontend.messages import Message, from_history, one_line
from frontend.session import ended, service

PARAMETER = "conversation"
SHOWN = 30


def current() -> list[Message]:
    """The messages of the conversation that the address names, read from the service when it is not open yet."""
    state = st.session_state
    if state.pop("away", False) and state.get("conversation"):
        name(state["conversation"])
    wanted = st.query_params.get(PARAMETER)
    if "messages" not in state or wanted != state.get("conversation"):
        _open(wanted)
    messages: list[Message] = state["messages"]
    return messages


def name(conversation_id: str) -> None:
    """Make this the open conversation, in the address bar too."""
    st.session_state["conversation"] = conversation_id
    st.query_params[PARAMETER] = conversation_id


def _choose(conversation_id: str) -> None:
    st.query_params[PARAMETER] = conversation_id


def leave() -> None:
    """Another page is shown, whose address names no conversation; coming back opens the same one."""
    st.session_state["away"] = True


def _open(conversation_id: str | None) -> None:
    st.session_state.update(conversation=conversation_id, messages=[])
    if conversation_id is None:
        return
    try:
        st.session_state["messages"] = from_history(service().conversation(conversation_id)["messages"])
    except ServiceError as error:
        if ended(error):
            st.rerun()
        st.session_state["missing"] = _why(error)
        _start_new()


def _why(error: ServiceError) -> str:
    # An address that is no id at all is refused as invalid.
    gone = error.status in (404, 422)
    return "This conversation is not there any more, or it is not yours." if gone else str(error)


def _start_new() -> None:
    st.session_state.update(conversation=None, messages=[])
    st.query_params.pop(PARAMETER, None)


def sidebar() -> None:
    """New conversation on top, then those so far, the latest first."""
    with st.sidebar:
        st.button("New conversation", icon=":material/edit_square:", width="stretch", on_click=_start_new)
        conversations = _all()
        if not conversations:
            st.caption("Your conversations will be listed here.")
            return
        with st.container(key="conversations", gap=None):
            st.caption("Recent")
            for item in conversations[: st.session_state.get("shown", SHOWN)]:
                _row(item)
            if len(conversations) > st.session_state.get("shown", SHOWN):
                st.button("Show all", type="tertiary", on_click=_show_all)


def _show_all() -> None:
    st.session_state["shown"] = 10_000


def _row(item: dict[str, Any]) -> None:
    identifier, title = item["id"], inert(one_line(item["title"]))
    chosen = "current" if identifier == st.session_state.get("conversation") else "other"
    with st.container(key=f"{chosen}-{identifier}", horizontal=True, wrap=False, gap=None, vertical_alignment="center"):
        st.button(
            title, key=f"open-{identifier}", type="tertiary", width="stretch", on_click=_choose, args=[identifier]
        )
        if st.button(
            "", key=f"delete-{identifier}", type="tertiary", icon=":material/delete:", help="Delete this conversation"
        ):
            _confirm(item)


@st.dialog("Delete this conversation?")
def _confirm(item: dict[str, Any]) -> None:
    st.text(item["title"])
    st.caption("Its questions and answers are removed for good. Your documents stay.")
    if st.button("Delete it", type="primary", icon=":material/delete:"):
        try:
            service().forget(item["id"])
        except ServiceError as error:
            if ended(error):
                st.rerun()
            st.error(str(error))
            return
        if item["id"] == st.session_state.get("conversation"):
            _start_new()
        st.rerun()


def _all() -> list[dict[str, Any]]:
    try:
        return service().conversations()
    except ServiceError as error:
        if ended(error):
            st.rerun()
        st.caption(str(error))
        return []
