"""Errors of other layers as errors of operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from portal.operations.errors import OperationFailed
from portal.runtime.errors import StackRuntimeError


@contextmanager
def runtime_faults() -> Iterator[None]:
    """Turn a fault of a runtime into OperationFailed with the same code, sentence and remedy."""
    try:
        yield
    except StackRuntimeError as fault:
        # What follows the first line is the end of a service's log, which has a page of its own.
        sentence = fault.message.partition("\n")[0]
        raise OperationFailed(sentence, code=fault.code, remedy=fault.remedy) from None
