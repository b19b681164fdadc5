"""A named point at which a test may hold a process and kill it."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def reach(point: str) -> None:
    """Wait here for ever when the environment names this point, after creating the file the test waits for.

    Honoured only for a file inside an existing folder called `faults`.
    """
    file = Path(os.environ.get("RAGKEEP_FAULT_FILE", ""))
    if os.environ.get("RAGKEEP_FAULT") != point or file.parent.name != "faults" or not file.parent.is_dir():
        return
    file.touch()
    threading.Event().wait()
