"""One writer at a time: the fence file, and the lock that proves a predecessor gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from portal.operations.models import Operation

KEEPERS = ("fence", "worker.lock", "agent.lock")


def work_path(operation_id: uuid.UUID) -> Path:
    """Where an operation's own folder is, whether it is there or not."""
    return Path(settings.VAR_DIR) / "operations" / str(operation_id)


def work_dir(operation_id: uuid.UUID) -> Path:
    """The operation's own folder: fence, locks, staging."""
    path = work_path(operation_id)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def clear_work_dir(operation_id: uuid.UUID) -> None:
    """Remove everything from the operation's folder but what keeps other writers away."""
    for path in work_dir(operation_id).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in KEEPERS:
            path.unlink()


def fence_path(operation_id: uuid.UUID) -> Path:
    return work_dir(operation_id) / "fence"


def raise_fence(operation: Operation) -> None:
    """Write our attempt, durably, for the agent to compare with; never lowers it."""
    path = fence_path(operation.pk)
    if fence_read(path) >= operation.attempt:
        return
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(f"{operation.attempt}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def fence_read(path: Path) -> int:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0


@contextmanager
def held(path: Path, *, seconds: float) -> Iterator[bool]:
    """Hold an exclusive flock on `path` inside the block; yields False when it could not be had within `seconds`.

    The kernel lets go of it when the holder dies, so having it proves that nobody else is at work.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _lock(descriptor, seconds)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)
        else:
            return True
