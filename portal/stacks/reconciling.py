"""Has every runtime put right what changed by itself."""

from __future__ import annotations

import logging

from portal.core import places
from portal.runtime.errors import StackRuntimeError
from portal.stacks.models import Stack, StackState
from portal.stacks.projects.reading import describe_missing

log = logging.getLogger(__name__)


def stacks_reconcile() -> None:
    """Once for every stack that is meant to run; one whose runtime does not answer is left for the next time. In a
    portal that was recovered, what is not its own is known as such before anything is done with it."""
    describe_missing()
    for stack in Stack.objects.filter(state=StackState.RUNNING):
        try:
            places.runtime().reconcile(places.stack_spec(stack.name))
        except StackRuntimeError as fault:
            log.info("the stack %s was left as it is: %s", stack.name, fault.message)
