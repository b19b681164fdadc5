"""Chroma's folder: one SQLite file and, per collection, a folder of HNSW files.

The HNSW files are primary data (the queue in SQLite is purged after they are written), they are written in place and
without a rename: so they are copied warm, and inside the freeze only those that changed since are copied again.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from backups.errors import FreezeBroken, SourceMissing
from backups.gently import copy_gently

DATABASE = "chroma.sqlite3"

SETTLE_SECONDS = 0.05
SETTLE_LIMIT = 1.0
_POLL = 0.01
# A file written within this time before it was looked at may change again without a newer mtime.
_RACY_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Mark:
    """How a file looks from outside: it has not changed while this has not."""

    inode: int
    size: int
    mtime_ns: int


Marks = dict[str, Mark]


def check(folder: Path) -> Path:
    """The SQLite file of a Chroma folder.

    Raises:
        SourceMissing: it is not there.
    """
    database = folder / DATABASE
    if not database.is_file():
        raise SourceMissing(f"there is no {DATABASE} in the vectors folder {folder}")
    return database


def marks(folder: Path) -> Marks:
    """The marks of all HNSW files, by their path below `folder`."""
    return {path.relative_to(folder).as_posix(): mark for path, mark in _marked(folder)}


def folder_bytes(folder: Path) -> int:
    """What SQLite and HNSW files weigh together."""
    log = folder / f"{DATABASE}-wal"
    sqlite = sum(path.stat().st_size for path in (folder / DATABASE, log) if path.exists())
    return sqlite + sum(mark.size for mark in marks(folder).values())


class WarmCopy:
    """A copy of the HNSW files that is brought up to date inside the freeze."""

    def __init__(self, folder: Path, target: Path) -> None:
        self._folder, self._target = folder, target
        self._copied: Marks = {}
        self._seen: Marks = {}
        self._quiet_since = 0.0

    def refresh(self, *, gently: bool = False) -> int:
        """Copy what is new or changed and drop what is gone; returns how many files were copied.

        `gently`, see backups.gently, where nobody is held up until the copy ends.

        A file's mark is taken before it is copied, so that a change during the copy shows the next time.
        """
        now_ns, found = time.time_ns(), marks(self._folder)
        changed = [path for path, mark in found.items() if self._copied.get(path) != mark]
        for path in changed:
            self._copy(path, copy_gently if gently else shutil.copyfile)
        for path in self._copied.keys() - found.keys():
            (self._target / path).unlink(missing_ok=True)
        self._copied = {path: mark for path, mark in found.items() if now_ns - mark.mtime_ns > _RACY_NS}
        return len(changed)

    def watch(self) -> None:
        """Note how the files look when the writers have just been stopped: the quiet time counts from here."""
        self._seen, self._quiet_since = marks(self._folder), time.monotonic()

    def finish(self) -> int:
        """Wait for 50 ms without a change, copy what changed, prove that nothing moved meanwhile; returns the copies.

        Raises:
            FreezeBroken: files still change after a second.
        """
        limit, copied = time.monotonic() + SETTLE_LIMIT, 0
        while True:
            self._settle(limit)
            copied += self.refresh()
            if self._unchanged():
                return copied

    def _settle(self, limit: float) -> None:
        while not (self._unchanged() and time.monotonic() - self._quiet_since >= SETTLE_SECONDS):
            if time.monotonic() > limit:
                raise FreezeBroken("Chroma goes on writing its index although every writer is held back")
            time.sleep(_POLL)

    def _unchanged(self) -> bool:
        found = marks(self._folder)
        if found == self._seen:
            return True
        self._seen, self._quiet_since = found, time.monotonic()
        return False

    def _copy(self, path: str, copy: Callable[[Path, Path], object]) -> None:
        target = self._target / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            copy(self._folder / path, target)


def _marked(folder: Path) -> Iterator[tuple[Path, Mark]]:
    """Files that vanish while they are looked at are left out; the next look sees them gone."""
    for path in folder.glob("*/*"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            facts = path.stat()
            yield path, Mark(facts.st_ino, facts.st_size, facts.st_mtime_ns)
