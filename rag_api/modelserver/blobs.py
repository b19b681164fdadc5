"""Content-addressed files: `blobs/sha256-<hex>`, each named by its own checksum.

A file under its final name is complete: it is written as `<name>-partial`, flushed, checked and renamed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rag_api.modelserver.errors import StoreDamagedError

CHUNK = 4 * 1024 * 1024
PARTIAL = "-partial"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BLOB = re.compile(r"sha256-[0-9a-f]{64}")


def digest_of(stream: BinaryIO) -> tuple[str, int]:
    """Read a stream to its end and return (`sha256:<hex>`, bytes)."""
    running, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK):
        running.update(chunk)
        size += len(chunk)
    return f"sha256:{running.hexdigest()}", size


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, temporary: Path, data: bytes) -> None:
    """Replace `path` by `data` at once; `temporary` must be on the same filesystem."""
    with temporary.open("wb") as sink:
        sink.write(data)
        sink.flush()
        os.fsync(sink.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


class Blobs:
    """The blobs folder of a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._verified: dict[str, tuple[int, int, int]] = {}

    def path(self, digest: str) -> Path:
        """Where a blob lies, there or not.

        Raises:
            StoreDamagedError: `digest` is not `sha256:<64 hex digits>`.
        """
        if not _DIGEST.fullmatch(digest):
            raise StoreDamagedError(
                f"the manifest names {digest!r}, which is not a sha256 digest; pull the model again"
            )
        return self.folder / digest.replace(":", "-")

    def partial(self, digest: str) -> Path:
        path = self.path(digest)
        return path.with_name(path.name + PARTIAL)

    def write_bytes(self, data: bytes) -> str:
        """Store `data` and return its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if not self.is_intact(digest):
            write_whole(self.path(digest), self.partial(digest), data)
        return digest

    def write(self, source: BinaryIO, digest: str) -> Iterator[int]:
        """Copy `source` (seekable) into the blob `digest`, yielding the bytes done; goes on where a copy stopped.

        Raises:
            StoreDamagedError: what was written does not have the checksum; nothing is kept then.
        """
        partial = self.partial(digest)
        running = hashlib.sha256()
        with partial.open("a+b") as sink:
            sink.seek(0)
            while chunk := sink.read(CHUNK):
                running.update(chunk)
            source.seek(sink.tell())
            yield sink.tell()
            while chunk := source.read(CHUNK):
                sink.write(chunk)
                running.update(chunk)
                yield sink.tell()
            sink.flush()
            os.fsync(sink.fileno())
        self._finish(partial, digest, f"sha256:{running.hexdigest()}")

    def verify(self, digest: str) -> Path:
        """Return the path of a blob whose content has its checksum; unchanged files are read once.

        Raises:
            StoreDamagedError: it is missing or its content is not what its name says.
        """
        path = self.path(digest)
        if not path.is_file():
            raise StoreDamagedError(
                f"blob {path.name} is missing from the store; pull the model again or restore the store"
            )
        if not self.is_intact(digest):
            raise StoreDamagedError(
                f"blob {path.name} does not have its checksum (damaged); delete and pull the model again"
            )
        return path

    def read(self, digest: str) -> bytes:
        """The verified content of a small blob."""
        return self.verify(digest).read_bytes()

    def prune(self, keep: set[str]) -> None:
        """Remove every complete blob whose digest is not in `keep`; partial ones stay, they can be resumed."""
        for path in self.folder.iterdir():
            if _BLOB.fullmatch(path.name) and path.name.replace("-", ":") not in keep:
                path.unlink()
        sync_folder(self.folder)

    def is_intact(self, digest: str) -> bool:
        """Whether a blob is there and has its checksum; a file is read again only after it changed."""
        path = self.path(digest)
        if not path.is_file():
            return False
        stat = path.stat()
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if self._verified.get(digest) == stamp:
            return True
        with path.open("rb") as stream:
            intact = digest_of(stream)[0] == digest
        if intact:
            self._verified[digest] = stamp
        return intact

    def _finish(self, partial: Path, digest: str, found: str) -> None:
        if found != digest:
            partial.unlink()
            raise StoreDamagedError(
                f"digest mismatch: expected {digest}, got {found}; the copy was discarded, pull again"
            )
        partial.replace(self.path(digest))
        sync_folder(self.folder)
