"""The chat UI: sign in, then Chat and Documents."""

from __future__ import annotations

import streamlit as st

from frontend import chat, documents, history, look
from frontend.session import account, sign_in_page, signed_in

look.begin()
if signed_in():
    look.signpost()
    chosen = st.navigation(
        [
            st.Page(chat.page, title="Chat", icon=":material/chat:", url_path="chat", default=True),
            st.Page(documents.page, title="Documents", icon=":material/folder_open:", url_path="documents"),
        ]
    )
    if chosen.title != "Chat":
        history.leave()
    chosen.run()
    account()
else:
    sign_in_page()
