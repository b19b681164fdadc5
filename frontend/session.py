"""Who is signed in, and the connection that speaks for them."""

from __future__ import annotations

import os

import streamlit as st

from frontend.client import Service, ServiceError

API_URL = os.environ.get("API_URL", "http://api:8000")


def service() -> Service:
    """The client of the person who is signed in."""
    return Service(API_URL, st.session_state["token"])


def signed_in() -> bool:
    """Whether there is a token that the service still accepts; it is asked once a session."""
    if "token" not in st.session_state:
        return False
    if "user" not in st.session_state:
        try:
            st.session_state["user"] = service().me()
        except ServiceError as error:
            forget()
            st.session_state["notice"] = str(error)
            return False
    return True


def forget() -> None:
    """Drop everything that belongs to the person, so that the next one on this browser sees nothing of it."""
    for key in list(st.session_state):
        del st.session_state[key]


def sign_out() -> None:
    try:
        service().sign_out()
    except ServiceError as error:
        st.session_state["notice"] = str(error)
    forget()


def ended(error: ServiceError) -> bool:
    """Whether `error` says that the session is over; it is then forgotten, and the sign-in form shows why."""
    if error.status != 401:
        return False
    forget()
    st.session_state["notice"] = "Your session has ended. Sign in again."
    return True


def sign_in_page() -> None:
    """The form; on success the page starts over as that person."""
    _, middle, _ = st.columns([1, 2, 1])
    with middle:
        st.title("Ragkeep")
        st.caption("Sign in to ask questions of your documents.")
        if notice := st.session_state.pop("notice", None):
            st.info(notice)
        with st.form("sign-in"):
            email = st.text_input("E-mail", autocomplete="username")
            password = st.text_input("Password", type="password", autocomplete="current-password")
            if st.form_submit_button("Sign in", type="primary", width="stretch"):
                _try(email.strip(), password)


def _try(email: str, password: str) -> None:
    if not email or not password:
        st.error("Type your e-mail address and your password.")
        return
    try:
        session = Service(API_URL).sign_in(email, password)
    except ServiceError as error:
        st.error(str(error))
        return
    st.session_state["token"] = session["token"]
    st.session_state["user"] = session["user"]
    st.rerun()
