"""Writing much without holding up those who write little.

What a program has written lies in the kernel's memory until somebody asks for it to be on the disk. Whoever asks next
then waits for all of it, and a database asks at every commit: behind a copy of some hundred MB the commits of others
waited for a second and more. Here it is flushed as it grows.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 8 * 2**20
PAUSE_SECONDS = 0.05


def copy_gently(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Copy the contents of a file; a `copy_function` of shutil.copytree."""
    with Path(source).open("rb") as reading, Path(target).open("wb", buffering=0) as writing:
        while block := reading.read(CHUNK_BYTES):
            writing.write(block)
            os.fdatasync(writing.fileno())
    return target


@contextmanager
def flushed_as_it_grows(path: Path) -> Iterator[None]:
    """Flush the file again and again while the block writes it by other means."""
    ended = threading.Event()
    path.touch()

    def flush() -> None:
        with path.open("rb") as file:
            while not ended.wait(PAUSE_SECONDS):
                os.fdatasync(file.fileno())

    thread = threading.Thread(target=flush, name="flush", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
