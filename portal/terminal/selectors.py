"""Reading terminals."""

from __future__ import annotations

from portal.stacks.models import Stack
from portal.terminal.models import TerminalSession


def session_list_open(stack: Stack) -> list[TerminalSession]:
    """Those that are open in a stack, the newest first."""
    return list(TerminalSession.objects.filter(stack=stack, ended_at=None))


def session_list_ended(stack: Stack, *, limit: int = 30) -> list[TerminalSession]:
    """The last ones that ended in a stack."""
    return list(TerminalSession.objects.filter(stack=stack).exclude(ended_at=None)[:limit])
