"""Reading stacks: the row from the database, its services from the runtime."""

from __future__ import annotations

from portal.stacks.models import Stack


def stack_get_default() -> Stack:
    """The stack that `up` made.

    Raises:
        Stack.DoesNotExist: nothing was set up yet.
    """
    return Stack.objects.earliest("created_at")


def stack_get(name: str) -> Stack:
    """The stack called `name`.

    Raises:
        Stack.DoesNotExist: there is none.
    """
    return Stack.objects.get(name=name)
