"""The documents: a write-once tree of files named by their checksum, stored straight from where it lives."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from backups.errors import SourceEmpty, SourceMissing

CHUNK = 1 << 20


def check(folder: Path, listed: int) -> None:
    """Return when the folder is there and not empty although the database lists `listed` files.

    Raises:
        SourceMissing, SourceEmpty
    """
    if not folder.is_dir():
        raise SourceMissing(f"the documents folder {folder} is not there")
    if listed and next(folder.iterdir(), None) is None:
        raise SourceEmpty(f"the documents folder {folder} is empty, the database lists {listed} files")


@dataclass(frozen=True, slots=True)
class Checked:
    """`whole`: paths that are there as the database says; `faulty`: path -> what is wrong; `hashed`: files read."""

    whole: list[str]
    faulty: dict[str, str]
    hashed: int


class Verifier:
    """Compares files with their checksums; a file is read once and again only when its inode changed.

    `cache`: SQLite file that remembers which file (path, size, inode, mtime) was found right.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self._folder = folder
        cache.parent.mkdir(parents=True, exist_ok=True)
        self._known = sqlite3.connect(cache, isolation_level=None)
        self._known.execute(
            "CREATE TABLE IF NOT EXISTS verified (path TEXT PRIMARY KEY, mark TEXT NOT NULL) WITHOUT ROWID"
        )

    def check(self, files: Mapping[str, tuple[str, int]], progress: Callable[[int], None]) -> Checked:
        """Check `path -> (sha256, bytes)`; `progress` is told the number of files done."""
        faulty: dict[str, str] = {}
        hashed = 0
        with closing(self._known) as known:
            known.execute("BEGIN")
            for done, (path, (sha256, size)) in enumerate(files.items(), start=1):
                wrong, read = self._fault(path, sha256, size)
                hashed += read
                if wrong:
                    faulty[path] = wrong
                progress(done)
            known.execute("COMMIT")
        return Checked([path for path in files if path not in faulty], faulty, hashed)

    def _fault(self, path: str, sha256: str, size: int) -> tuple[str, int]:
        """What is wrong with a file ("" for nothing) and whether it was read."""
        file = self._folder / path
        try:
            found = file.stat()
        except OSError:
            return "missing", 0
        if found.st_size != size:
            return f"{found.st_size} bytes instead of {size}", 0
        mark = f"{sha256} {size} {found.st_ino} {found.st_mtime_ns}"
        if self._known.execute("SELECT 1 FROM verified WHERE path = ? AND mark = ?", (str(file), mark)).fetchone():
            return "", 0
        if file_sha256(file) != sha256:
            return "content does not match its checksum", 1
        self._known.execute("INSERT OR REPLACE INTO verified VALUES (?, ?)", (str(file), mark))
        return "", 1


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
