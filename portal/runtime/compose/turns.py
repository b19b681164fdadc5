"""One at a time: whoever changes the containers of a stack keeps others out until it is done or dead."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal.runtime.errors import StackBusyError

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.1


@contextmanager
def turn(file: Path, project: str, *, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Be the only one who changes the stack; the kernel lets go of it when its owner dies.

    Raises:
        StackBusyError: somebody else is at it for longer than `patience` seconds.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.open("w") as lock:
        end = time.monotonic() + patience
        while not _taken(lock.fileno()):
            if time.monotonic() >= end:
                raise StackBusyError(project)
            time.sleep(PAUSE_SECONDS)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
