"""Processes that outlived their supervisor.

A killed supervisord leaves its children running, and they hold ports and data folders. Two traces find them: the
record each service leaves when it starts (readable whoever asks), and the marker in its environment, which its
descendants inherit (readable within the same user namespace only).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from portal.runtime import procfs
from portal.runtime.paths import CONTROL, RuntimePaths

MARKER = "RAGKEEP_PROJECT"
SUFFIX = ".process.json"
GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Record:
    """What a service said about itself when it started; `started` in clock ticks since boot."""

    pid: int
    started: int
    digest: str
    stop_signal: str

    @property
    def alive(self) -> bool:
        """True when that very process, and not another with the same pid, still runs."""
        now = procfs.entry(self.pid)
        return now is not None and now.started == self.started


def marker(paths: RuntimePaths, project: str, service: str = "") -> str:
    """The value of the environment marker; without a service, what all of a project's values begin with."""
    return f"{paths.key}:{project}:{service}"


def write_record(run: Path, service: str, entry: procfs.Entry, digest: str, stop_signal: str) -> None:
    """Leave the record of a service that is about to run."""
    run.mkdir(parents=True, exist_ok=True)
    record = Record(entry.pid, entry.started, digest, stop_signal)
    target = run / f"{service}{SUFFIX}"
    fresh = target.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(record)), encoding="utf-8")
    fresh.replace(target)


def read_record(run: Path, service: str) -> Record | None:
    """The record of a service's last start; None when it never started or the file is unreadable."""
    return _read(run / f"{service}{SUFFIX}")


def _read(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def find(paths: RuntimePaths, *, supervisor: int | None, project: str | None = None) -> dict[int, str]:
    """Processes of this `var` that the living supervisor (None: there is none) does not own.

    Returns:
        pid -> name of the signal that stops it; of all projects, or of one.
    """
    processes = procfs.table()
    spared = procfs.ancestors(os.getpid(), processes)
    if supervisor is not None:
        spared.update(procfs.family(supervisor, processes))
    found: dict[int, str] = {}
    for record in _records(paths, project):
        if record.alive:
            tree = procfs.family(record.pid, processes)
            found.update({pid: record.stop_signal if pid == record.pid else "SIGTERM" for pid in tree})
    start = marker(paths, project) if project else f"{paths.key}:"
    for pid in processes:
        if pid not in found and procfs.environment(pid).get(MARKER, "").startswith(start):
            found[pid] = "SIGTERM"
    return {pid: name for pid, name in found.items() if pid not in spared}


def _records(paths: RuntimePaths, project: str | None) -> list[Record]:
    roots = [paths.root(project)] if project else [paths.root(CONTROL), *_stacks(paths)]
    files = [file for root in roots for file in (root / "run").glob(f"*{SUFFIX}")]
    return [record for file in files if (record := _read(file)) is not None]


def _stacks(paths: RuntimePaths) -> list[Path]:
    folder = paths.var / "stacks"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def stop(processes: dict[int, str], *, grace: float = GRACE_SECONDS) -> None:
    """Send each its signal, and after `grace` seconds SIGKILL to those still there."""
    identities = {pid: entry for pid in processes if (entry := procfs.entry(pid)) is not None}
    for pid, name in processes.items():
        _send(pid, signal.Signals[name])
    end = time.monotonic() + grace
    while (rest := _still(identities)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in rest:
        _send(pid, signal.SIGKILL)
    while _still({pid: identities[pid] for pid in rest}) and time.monotonic() < end + grace:
        time.sleep(0.05)


def _still(identities: dict[int, procfs.Entry]) -> list[int]:
    now = {pid: procfs.entry(pid) for pid in identities}
    return [pid for pid, entry in now.items() if entry is not None and entry.started == identities[pid].started]


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
