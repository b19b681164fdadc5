"""One `up`, `down` or `clean` at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.cli.output import UserError


@contextmanager
def only_one(run: Path, verb: str) -> Iterator[None]:
    """Hold `run/up.lock`; the kernel lets go of it when this process ends, however it ends.

    Raises:
        UserError: another process holds it; the message says which.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / "up.lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UserError(f"{holder} is at work on this installation", "wait until it has ended", "busy") from None
        file.truncate(0)
        file.write(f"manage.py {verb} (pid {os.getpid()})")
        file.flush()
        yield
        file.truncate(0)
