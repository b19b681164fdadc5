"""The chat UI: sign in, then Chat and Documents."""

from __future__ import annotations

import streamlit as st

from frontend import chat, documents
from frontend.markup import inert
from frontend.session import sign_in_page, sign_out, signed_in

st.set_page_config(page_title="Ragkeep", page_icon=":material/inventory_2:", layout="centered")

if signed_in():
    chosen = st.navigation(
        [
            st.Page(chat.page, title="Chat", icon=":material/chat:", url_path="chat", default=True),
            st.Page(documents.page, title="Documents", icon=":material/folder_open:", url_path="documents"),
        ]
    )
    chosen.run()
    with st.sidebar:
        st.divider()
        st.caption(inert(st.session_state["user"]["email"]))
        st.button("Sign out", icon=":material/logout:", on_click=sign_out)
else:
    sign_in_page()
