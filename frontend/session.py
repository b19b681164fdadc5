"""Who is signed in, and the connection that speaks for them.

Behind nginx the browser keeps the session's token in a cookie that no script can read, so that a reload stays signed
in; this server reads it from the request that opened the page. Opened directly, without nginx, there is no origin to
set such a cookie from: the token then lives in this page's memory only, and a reload asks for the password again.
"""

from __future__ import annotations

import os

import streamlit as st

from frontend import look
from frontend.client import Service, ServiceError
from frontend.forms import refusal, sign_in_form, sign_out_form
from frontend.markup import inert

API_URL = os.environ.get("API_URL", "http://api:8000")
COOKIE = "ragkeep_chat"
ENDED = "Your session has ended. Sign in again."


def service() -> Service:
    """The client of the person who is signed in."""
    return Service(API_URL, st.session_state["token"])


def signed_in() -> bool:
    """Whether there is a token that the service still accepts; it is asked once a page load.

    While the service cannot be asked the page says so and stops: nobody is signed out by a restart.
    """
    if "user" in st.session_state:
        return True
    token = st.session_state.get("token") or _cookie()
    if not token or st.session_state.get("refused") == token:
        return False
    try:
        user = Service(API_URL, token).me()
    except ServiceError as error:
        if error.status != 401:
            _unreachable(error)
        st.session_state.update(refused=token, notice=ENDED)
        return False
    st.session_state.update(token=token, user=user)
    return True


def behind_edge() -> bool:
    """Whether nginx is in front, so that the API answers on this page's own origin."""
    return bool(st.context.headers.get("X-Ragkeep-Origin"))


def _cookie() -> str | None:
    return st.context.cookies.get(COOKIE) if behind_edge() else None


def _unreachable(error: ServiceError) -> None:
    look.wordmark(160)
    st.warning(str(error), icon=":material/cloud_off:")
    st.button("Try again", icon=":material/refresh:")
    st.stop()


def forget() -> None:
    """Drop everything that belongs to the person, so that the next one on this browser sees nothing of it."""
    refused = st.session_state.get("token")
    for key in list(st.session_state):
        del st.session_state[key]
    st.session_state["refused"] = refused
    st.query_params.clear()


def ended(error: ServiceError) -> bool:
    """Whether `error` says that the session is over; it is then forgotten, and the sign-in form shows why."""
    if error.status != 401:
        return False
    forget()
    st.session_state["notice"] = ENDED
    return True


def account() -> None:
    """At the foot of the sidebar: who is signed in, and the way out."""
    user = st.session_state["user"]
    with st.sidebar, st.container(key="account", gap=None):
        st.markdown(f"**{inert(user['name'])}**")
        st.caption(inert(user["email"]))
        if behind_edge():
            st.html(sign_out_form())
        else:
            st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=_sign_out)


def _sign_out() -> None:
    notice = "You are signed out."
    try:
        service().sign_out()
    except ServiceError as error:
        notice = str(error)
    forget()
    st.session_state["notice"] = notice


def sign_in_page() -> None:
    """The form; on success the page starts over as that person."""
    with st.container(key="sign-in-card", border=True):
        look.wordmark(160)
        st.caption("Ask questions of your documents. Every answer names the passages it rests on.")
        if code := st.query_params.get("refused"):
            st.error(refusal(code))
        elif notice := st.session_state.pop("notice", None):
            st.info(notice)
        if behind_edge():
            st.html(sign_in_form(st.query_params.get("conversation")))
        else:
            _memory_form()


def _memory_form() -> None:
    with st.form("sign-in", border=False):
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
    st.session_state.update(token=session["token"], user=session["user"])
    st.rerun()
