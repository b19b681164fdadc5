"""Addresses of terminals."""

from __future__ import annotations

from django.urls import path

from portal.web.views import terminal, terminal_stream

PAGES = [
    path("stack/terminal/", terminal.terminal, name="terminal"),
    path("stack/terminal/allow/", terminal.terminal_policy, name="terminal-allow"),
    path("stack/terminal/open/", terminal.terminal_open, name="terminal-open"),
    path("stack/terminal/<uuid:session_id>/", terminal.terminal_session, name="terminal-session"),
    path("stack/terminal/<uuid:session_id>/stream/", terminal_stream.stream, name="terminal-stream"),
    path("stack/terminal/<uuid:session_id>/send/", terminal.terminal_send, name="terminal-send"),
    path("stack/terminal/<uuid:session_id>/end/", terminal.terminal_end, name="terminal-end"),
]
