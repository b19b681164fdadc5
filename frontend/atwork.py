"""Says what this server is in the middle of: a file for each answer and upload, in the folder ANSWERING_DIR.

Whoever ends this server waits until the folder is empty, so that nobody's answer breaks off. Without the variable
nothing is said.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def at_work() -> Iterator[None]:
    """Something that must not be interrupted goes on inside the block."""
    folder = os.environ.get("ANSWERING_DIR")
    if not folder:
        yield
        return
    handle, name = tempfile.mkstemp(dir=folder)
    os.close(handle)
    try:
        yield
    finally:
        Path(name).unlink(missing_ok=True)
