"""Registering stacks."""

from __future__ import annotations

from portal.core.services import audit
from portal.stacks.models import Stack, StackState
from portal.stacks.releases import release_note_running


def stack_ensure(*, name: str = "rag", environment: str = "production", runtime: str = "embedded") -> Stack:
    """Make sure that the portal knows the stack; one that it knows is left as it is."""
    stack, made = Stack.objects.get_or_create(name=name, defaults={"environment": environment, "runtime": runtime})
    if made:
        audit(action="stack.created", target=stack.target)
    return stack


def stack_started(name: str) -> None:
    """Note that the stack was started by other means than an operation: from now on it is meant to run, and what runs
    is its release."""
    if Stack.objects.filter(name=name, state=StackState.STOPPED).update(state=StackState.RUNNING):
        audit(action="stack.started", target=f"stack:{name}")
    release_note_running(name)
