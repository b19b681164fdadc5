"""Bringing single files and folders out of a set, as they stream: no lock is taken, so a prune may run meanwhile."""

from __future__ import annotations

import hashlib
import posixpath
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from backups import restic
from backups.errors import RestoreError
from backups.process import ByteStream
from backups.repository import Repository
from backups.trees import Node

CHUNK = 1 << 18
# What starting restic costs, in bytes that could have been read meanwhile: decides between one and many starts.
START_BYTES = 64 << 20
# Contents that several names share are kept in memory up to this size.
SPOOL_BYTES = 8 << 20
# Larger files are models and dumps, which deflate does not make smaller in any sensible time.
STORED_BYTES = 64 << 20
_UNSAFE = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')

Blocks = Iterator[bytes]


class FileDamaged(RestoreError):  # noqa: N818 - named as its kin in backups.errors
    """What came out of the repository is not what went in."""

    code = "file_damaged"
    default_remedy = "Verify the set, and take the file from another one."


def file_argv(tool: Path, snapshot: str, path: str) -> restic.Argv:
    """Write one file of a snapshot to standard output, without a lock."""
    return (str(tool), "--quiet", "--no-lock", "dump", snapshot, path)


def archive_argv(tool: Path, snapshot: str, folder: str) -> restic.Argv:
    """Write a folder of a snapshot to standard output as a tar archive, without a lock; members have full paths."""
    return (str(tool), "--quiet", "--no-lock", "dump", "--archive", "tar", snapshot, folder)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to bring, under the name it is to have."""

    name: str
    node: Node


@dataclass(frozen=True, slots=True)
class Batch:
    """Files by their place in the snapshot: all in one reading of `folder`, or one by one when that is empty."""

    folder: str
    places: Mapping[str, list[Wanted]]


class Fetch(Repository):
    """A repository as one reads files from it. `stop` ends what is being read; it may be called from any thread."""

    _running: ByteStream | None = None
    _stopped = False

    def text(self, snapshot: str, path: str) -> str:
        """A small text file."""
        return b"".join(self.file(snapshot, path)).decode("utf-8")

    def file(self, snapshot: str, path: str, *, sha256: str = "") -> Blocks:
        """The bytes of one file.

        Raises:
            FileDamaged: at its end, when it does not have the checksum.
            RepositoryError
        """
        digest = hashlib.sha256()
        with self._reading(file_argv(self._tool, snapshot, path)) as stdout:
            while block := stdout.read1(CHUNK):  # type: ignore[attr-defined]  # a BufferedReader
                digest.update(block)
                yield block
        if sha256 and digest.hexdigest() != sha256:
            raise FileDamaged(f"{posixpath.basename(path)} does not match its checksum")

    def files(self, snapshot: str, batches: Sequence[Batch]) -> Iterator[tuple[Wanted, Blocks]]:
        """Several files, each with its bytes, which must be read before the next one is asked for.

        Raises:
            FileDamaged, RepositoryError
        """
        for batch in batches:
            yield from self._archived(snapshot, batch) if batch.folder else self._one_by_one(snapshot, batch)

    def zipped(self, snapshot: str, batches: Sequence[Batch], *, at: datetime) -> Blocks:
        """The same as a zip archive, whose files carry the time `at`."""
        sink = _Sink()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
            for one, blocks in self.files(snapshot, batches):
                with archive.open(_member(one, at), "w", force_zip64=one.node.bytes > 1 << 31) as member:
                    for block in blocks:
                        member.write(block)
                        if sink.size >= CHUNK:
                            yield sink.take()
        yield sink.take()

    def stop(self) -> None:
        """End restic now; whoever iterates gets an error."""
        self._stopped = True
        if running := self._running:
            running.kill()

    def _archived(self, snapshot: str, batch: Batch) -> Iterator[tuple[Wanted, Blocks]]:
        left = dict(batch.places)
        with self._reading(archive_argv(self._tool, snapshot, batch.folder)) as stdout:
            with tarfile.open(fileobj=stdout, mode="r|", bufsize=CHUNK) as archive:
                for member in archive:
                    found = left.pop(f"/{member.name}", None) if member.isreg() else None
                    content = archive.extractfile(member) if found else None
                    if found and content:
                        yield from _shared(found, _blocks(content))
            while stdout.read(CHUNK):  # tarfile stops at its end mark, restic would die of a closed pipe
                pass
        if left:
            raise FileDamaged(f"{len(left)} files are not in the snapshot, among them {next(iter(left))}")

    def _one_by_one(self, snapshot: str, batch: Batch) -> Iterator[tuple[Wanted, Blocks]]:
        for stored, found in batch.places.items():
            yield from _shared(found, self.file(snapshot, stored))

    @contextmanager
    def _reading(self, argv: restic.Argv) -> Iterator[IO[bytes]]:
        with ByteStream(self._placed(argv), env=self._environment()) as stream:
            self._running = stream
            if self._stopped:
                stream.kill()
            try:
                yield stream.stdout
                code = stream.wait()
                complaints = restic.Complaints.read(stream.stderr)
            finally:
                self._running = None
        if code != 0:
            raise self._failure(code, complaints)


def batches(wanted: Sequence[Wanted], bytes_below: Callable[[str], int]) -> list[Batch]:
    """How to bring these files with the least work: restic reads single files or whole folders, nothing between.

    Args:
        bytes_below: bytes of all files of the snapshot below a folder.
    """
    tops: dict[str, dict[str, list[Wanted]]] = {}
    for one in wanted:
        tops.setdefault(one.node.stored.split("/")[1], {}).setdefault(one.node.stored, []).append(one)
    found = []
    for places in tops.values():
        folder = posixpath.commonpath([posixpath.dirname(path) for path in places])
        asked = sum(names[0].node.bytes for names in places.values())
        whole = folder != "/" and bytes_below(folder) - asked < START_BYTES * (len(places) - 1)
        found.append(Batch(folder if whole else "", places))
    return found


def _shared(found: Sequence[Wanted], blocks: Blocks) -> Iterator[tuple[Wanted, Blocks]]:
    """One content under every name it is wanted by, compared with its checksum."""
    proven = _proven(found[0].node, blocks)
    if len(found) == 1:
        yield found[0], proven
        return
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        for block in proven:
            spool.write(block)
        for one in found:
            spool.seek(0)
            yield one, _blocks(spool)


def _proven(node: Node, blocks: Blocks) -> Blocks:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        yield block
    if node.sha256 and digest.hexdigest() != node.sha256:
        raise FileDamaged(f"{node.path} does not match its checksum")


def _blocks(content: IO[bytes]) -> Blocks:
    while block := content.read(CHUNK):
        yield block


def _member(one: Wanted, at: datetime) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(one.name, at.timetuple()[:6])
    info.compress_type = zipfile.ZIP_STORED if one.node.bytes >= STORED_BYTES else zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    info.file_size = one.node.bytes
    return info


def archive_names(folder: Node, files: Sequence[Node]) -> list[Wanted]:
    """The files of a folder under names that every system can unpack, none of which leads out of the archive."""
    taken: set[str] = set()
    found: list[Wanted] = []
    for node in files:
        below = node.path.removeprefix(folder.path.rstrip("/")).split("/")[1:]
        name = "/".join(portable(word) for word in ([portable(folder.name)] if folder.name else []) + below)
        number, unique = 1, name
        while unique.casefold() in taken:
            number += 1
            stem, dot, suffix = name.rpartition(".")
            unique = f"{stem} ({number}).{suffix}" if dot and "/" not in suffix else f"{name} ({number})"
        taken.add(unique.casefold())
        found.append(Wanted(unique, node))
    return found


def portable(name: str) -> str:
    """A file name without what some system or another takes for something else."""
    cleaned = _UNSAFE.sub("_", name).rstrip(". ")
    return cleaned if cleaned.strip("_") or cleaned else "_"


class _Sink:
    """Takes what zipfile writes and hands it on; it cannot seek, so that sizes follow the contents."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        """Everything since the last time."""
        found, self._parts, self.size = b"".join(self._parts), [], 0
        return found
