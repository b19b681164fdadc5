"""The two plain forms that the browser itself sends to the API on the chat's origin, which answers with the cookie."""

from __future__ import annotations

import re
from html import escape

_CONVERSATION = re.compile(r"[0-9a-f-]{36}")
_REFUSALS = {
    "wrong_credentials": "The e-mail address or the password is wrong; check both.",
    "too_many_attempts": "Too many failed sign-ins; wait five minutes and try again.",
}


def refusal(code: str) -> str:
    """The sentence for the code that a refused sign-in came back with; the address bar could hold anything."""
    return _REFUSALS.get(code, "Signing in did not work. Try again; if it stays, tell the operator.")


def sign_in_form(conversation: str | None) -> str:
    """HTML of the form; signing in leads back to the conversation that the address names."""
    page = f"/?conversation={conversation}" if conversation and _CONVERSATION.fullmatch(conversation) else "/"
    return f"""
<form class="rk-sign-in" method="post" action="/api/sign-in">
  <input type="hidden" name="page" value="{escape(page)}">
  <label>E-mail<input name="email" type="email" autocomplete="username" required maxlength="254"></label>
  <label>Password<input name="password" type="password" autocomplete="current-password" required
    maxlength="1024"></label>
  <button type="submit">Sign in</button>
</form>"""


def sign_out_form() -> str:
    """HTML of the button that ends the session on the server and takes the cookie away."""
    return (
        '<form class="rk-sign-out" method="post" action="/api/sign-out"><button type="submit">Sign out</button></form>'
    )
