"""The tree of documents' files: content-addressed, write-once.

A file arrives under a temporary name in `incoming` (same filesystem, outside the tree that backups read), is
fsynced and renamed to `<aa>/<sha256>`. Nothing here decides when a file may go; see rag_api.worker.removal.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from rag_api.settings import Settings

STALE_SECONDS = 24 * 3600


class Incoming:
    """A file being received: hashed while it is written, gone unless it is kept."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / secrets.token_hex(16)
        self.size = 0
        self._hash = hashlib.sha256()
        self._file = self.path.open("xb")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)
        self.size += len(data)

    def finish(self) -> None:
        """Make what was written safe on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Remove the temporary file; after a rename there is none left."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Storage:
    """The documents' files by content."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.documents_dir
        self._incoming = settings.incoming_dir

    def prepare(self) -> None:
        """Make the folders, and clear what uploads of a day ago and more left behind when they were cut off."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(parents=True, exist_ok=True)
        for left in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    left.unlink()

    def receive(self) -> Incoming:
        """Open a new incoming file; raises OSError when the disk refuses."""
        return Incoming(self._incoming)

    def path(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256

    def keep(self, incoming: Incoming) -> None:
        """Rename a finished incoming file to its content's address; the same content again changes nothing."""
        target = self.path(incoming.sha256)
        if target.exists():
            return
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            _sync_folder(self._root)
        incoming.path.rename(target)
        _sync_folder(target.parent)

    def remove(self, sha256: str) -> bool:
        """Remove a content's file; False when there was none."""
        try:
            self.path(sha256).unlink()
        except FileNotFoundError:
            return False
        return True

    def contents(self) -> Iterator[str]:
        """The SHA-256 of every file in the tree."""
        for folder in sorted(self._root.iterdir()):
            if folder.is_dir() and len(folder.name) == 2:
                yield from (file.name for file in folder.iterdir() if len(file.name) == 64)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
