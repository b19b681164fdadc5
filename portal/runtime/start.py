"""Becomes one service: `python -m portal.runtime.start <services.json> <service>`.

The supervisor's own configuration stays the same whatever a service's definition is: the definition is read here, at
each start. That keeps environment values out of a file format that would have to quote them, runs the preparing
commands, and leaves a record by which the process is recognised should its supervisor be killed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from backups import process
from portal.runtime import procfs, starts
from portal.runtime.leftovers import write_record


def main(definitions: str, service: str) -> int:
    """Prepare, leave the record, and become the service; returns only when a preparing command fails."""
    definition: dict[str, Any] = json.loads(Path(definitions).read_text(encoding="utf-8"))[service]
    for folder in definition["folders"]:
        Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chdir(definition["cwd"])
    os.nice(definition.get("niceness", 0))  # a definition may be older than this program
    myself = procfs.entry(os.getpid())
    assert myself is not None, "a running process has an entry"
    # Before the preparing commands: they too may be left over.
    write_record(Path(definition["run"]), service, myself, definition["digest"], definition["stop_signal"])
    starts.note(Path(definition["run"]), service, myself.pid)
    for argv in definition["init"]:
        code = process.call(argv, env=definition["env"])
        if code != 0:
            # Standard error is the service's log.
            sys.stderr.write(f"{Path(argv[0]).name} {' '.join(argv[1:4])} failed with status {code}\n")
            return 1
    os.execve(definition["argv"][0], definition["argv"], definition["env"])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
