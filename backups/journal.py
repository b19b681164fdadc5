"""The agent's side of its protocol: JSON lines out, the fence, the lock, the end of the parent.

Lines on standard output:

    {"type": "step", "name": ..., "state": "started" | "done" | "failed", "data": {...}}
    {"type": "progress", "stage": ..., "fraction": 0..1 | null, "counts": {...}, "note": ...}
    {"type": "log", "level": "info" | "warning" | "error", "message": ...}
    {"type": "result", "state": ..., ...}          the last line, or:
    {"type": "error", "code": ..., "message": ..., "remedy": ..., "data": {...}}
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from backups import fault
from backups.errors import BackupError, FencedOff, OperationBusy

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_PARTIAL = 3
EXIT_FENCED = 4

PROGRESS_SECONDS = 0.25


class Journal:
    """Writes the protocol's lines; usable from several threads."""

    def __init__(self, out: IO[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._lock = threading.Lock()
        self._shown: tuple[str, float] = ("", 0.0)

    def step(self, name: str, state: str, data: Mapping[str, Any] | None = None) -> None:
        self._write({"type": "step", "name": name, "state": state, "data": dict(data or {})})

    def progress(
        self, stage: str, fraction: float | None, counts: Mapping[str, int] | None = None, note: str = ""
    ) -> None:
        """Tell how far a stage is; at most four lines a second per stage, the first and the last always."""
        now, (shown_stage, shown_at) = self._clock(), self._shown
        if stage == shown_stage and now - shown_at < PROGRESS_SECONDS and fraction != 1:
            return
        self._shown = (stage, now)
        self._write(
            {"type": "progress", "stage": stage, "fraction": fraction, "counts": dict(counts or {}), "note": note}
        )

    def log(self, message: str, level: str = "info") -> None:
        self._write({"type": "log", "level": level, "message": message})

    def result(self, state: str, **data: object) -> None:
        self._write({"type": "result", "state": state, **data})

    def error(self, error: BackupError) -> None:
        self._write({"type": "error", **error.to_json()})

    def _write(self, line: Mapping[str, Any]) -> None:
        with self._lock:
            self._out.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            self._out.flush()


class Fence:
    """The attempt number that owns an operation, kept in a file that the portal raises for every new attempt."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._path = path
        self._attempt = attempt

    def check(self) -> None:
        """Return when we still own the operation; a fence that is not there fences nobody off.

        Raises:
            FencedOff: a newer attempt owns it, or the file cannot be understood.
        """
        try:
            text = self._path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return
        if not text.isdigit() or int(text) > self._attempt:
            raise FencedOff(f"attempt {self._attempt} stops: {self._path.name} says {text[:20]!r}")


class Context:
    """What every job gets besides the job itself: the journal and, through `step`, the fence. `kind`: the job's."""

    def __init__(self, journal: Journal, fence: Fence, kind: str = "job") -> None:
        self.journal = journal
        self.fence = fence
        self._kind = kind
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, **data: object) -> Iterator[dict[str, Any]]:
        """One journaled step; what is put into the yielded dict is reported when the step is done.

        Raises:
            FencedOff: before anything of the step has happened.
        """
        self.fence.check()
        self.journal.step(name, "started", data)
        fault.reach(f"agent.{self._kind}.{name}.started")
        began = time.monotonic()
        outcome: dict[str, Any] = {}
        try:
            yield outcome
        except BackupError as error:
            self.journal.step(name, "failed", error.to_json())
            raise
        except BaseException as error:
            self.journal.step(name, "failed", {"error": type(error).__name__})
            raise
        finally:
            self.seconds[name] = round(time.monotonic() - began, 3)
        self.journal.step(name, "done", {"seconds": self.seconds[name], **outcome})
        fault.reach(f"agent.{self._kind}.{name}.done")


@contextmanager
def agent_lock(work: Path, seconds: float = 30.0) -> Iterator[None]:
    """Hold `<work>/agent.lock`; the kernel releases it when the process ends, however it ends.

    Raises:
        OperationBusy: an earlier agent still holds it after `seconds`.
    """
    work.mkdir(parents=True, exist_ok=True)
    with (work / "agent.lock").open("a") as file:
        end = time.monotonic() + seconds
        while not _flock(file):
            if time.monotonic() > end:
                raise OperationBusy(f"an earlier agent still works on this operation (it holds {work}/agent.lock)")
            time.sleep(0.1)
        yield


def watch_parent(stdin: IO[str]) -> threading.Thread:
    """End this process at once when `stdin` reaches its end: then the parent is gone.

    Nothing is tidied up on purpose: gates are released by the server, locks by the kernel, and children die with us
    (see backups.process), which is the same path as a kill -9 and therefore the only one that needs to be right.
    """

    def wait_for_the_end() -> None:
        while stdin.readline():
            pass
        os._exit(EXIT_ERROR)

    watcher = threading.Thread(target=wait_for_the_end, name="parent-watch", daemon=True)
    watcher.start()
    return watcher


def _flock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
