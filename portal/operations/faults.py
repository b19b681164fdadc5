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
        raise OperationFailed(fault.message, code=fault.code, remedy=fault.remedy) from None
