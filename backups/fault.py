"""A named point at which a test may hold a process and kill it."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def reach(point: str) -> None:
    """Wait here for ever when a test asks for it, in one of two ways.

    * The environment names this point and a file inside an existing folder called `faults`: the file is created.
    * An installation's own `faults` folder holds `<point>.armed`: it is renamed to `<point>.reached`, so that the next
      process passes. This reaches agents whose environment is not the test's to choose.
    """
    file = Path(os.environ.get("RAGKEEP_FAULT_FILE", ""))
    if os.environ.get("RAGKEEP_FAULT") == point and file.parent.name == "faults" and file.parent.is_dir():
        file.touch()
        threading.Event().wait()
    armed = Path(os.environ.get("RAGKEEP_VAR", "")) / "faults" / f"{point}.armed"
    if armed.is_absolute() and armed.is_file():
        armed.rename(armed.with_suffix(".reached"))
        threading.Event().wait()
