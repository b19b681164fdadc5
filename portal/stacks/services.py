"""Registering stacks."""

from __future__ import annotations

from portal.core.services import audit
from portal.stacks.models import Stack


def stack_ensure(*, name: str = "rag", environment: str = "production", runtime: str = "embedded") -> Stack:
    """Make sure that the portal knows the stack; one that it knows is left as it is."""
    stack, made = Stack.objects.get_or_create(name=name, defaults={"environment": environment, "runtime": runtime})
    if made:
        audit(action="stack.created", target=stack.target)
    return stack
