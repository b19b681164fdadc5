"""Proving that what was staged is whole, by reading all of it the way a restore would."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backups import canary, chroma
from backups.errors import StagingInvalid
from backups.gently import copy_gently
from backups.manifest import Collection, FileEntry, Question
from backups.sources.documents import file_sha256
from backups.sources.further import EXTRA
from backups.sources.vectors import DATABASE

Progress = Callable[[str, int], None]


def verify_vectors(
    staged: Path,
    scratch: Path,
    collections: Sequence[Collection],
    chunks: Callable[[str], list[str]],
    progress: Progress,
) -> tuple[list[Collection], list[Question]]:
    """Prove that a staged Chroma folder can be read, and that it holds the vector of every ready chunk.

    Chroma itself reads it, from a copy in `scratch`, because it may change what it opens.

    Args:
        chunks: ids of a collection's ready chunks, sorted, by the collection's name.
        progress: told the collection and the number of vectors read.

    Returns:
        the collections with their figures, and the canary's questions.

    Raises:
        StagingInvalid: naming what is missing.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(staged, scratch, copy_function=copy_gently)
    _quick_check(scratch / DATABASE)
    try:
        with chroma.serving(scratch) as store:
            known, found, questions = store.collections(), list[Collection](), list[Question]()
            for collection in collections:
                wanted = chunks(collection.name)
                checked = _Check(store, collection, known.get(collection.name), progress)
                count, vectors = checked.read(wanted)
                found.append(replace(collection, vectors=count, chunks=len(wanted)))
                questions += checked.questions(canary.candidates(collection.name, wanted, vectors))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return found, questions


class _Check:
    """One collection of a copy. `handle`: Chroma's id of it, None when the copy has none of that name."""

    def __init__(self, store: chroma.Store, collection: Collection, handle: str | None, progress: Progress) -> None:
        self._store, self._collection, self._handle, self._progress = store, collection, handle, progress
        self._asked = 0

    def read(self, wanted: list[str]) -> tuple[int, NDArray[np.float32]]:
        """Fetch every vector; returns their number, and those of `wanted` in its order."""
        name = self._collection.name
        vectors = np.zeros((len(wanted), self._collection.dimension), dtype=np.float32)
        if self._handle is None:
            self._demand(not wanted, f"the collection {name} is not in the copy of Chroma's store")
            return 0, vectors
        count = self._store.count(self._handle)
        fetched, missing = self._fill(vectors, {chunk: row for row, chunk in enumerate(wanted)})
        self._demand(fetched == count, f"{name}: Chroma counts {count} vectors and gives {fetched}")
        self._demand(not missing, f"{name}: {missing} of {len(wanted)} ready chunks have no vector in the copy")
        usable = bool(np.isfinite(vectors).all() and (np.abs(vectors).sum(axis=1) > 0).all())
        self._demand(usable, f"{name}: vectors in the copy are zero or not numbers")
        return count, vectors

    def questions(self, candidates: Iterable[Question]) -> list[Question]:
        """Prove that the index answers; returns what a restored one can be asked."""
        found = canary.answerable(candidates, self._ask)
        self._demand(bool(found) or not self._asked, f"{self._collection.name}: the index of the copy finds nothing")
        return found

    def _ask(self, question: Question) -> list[str]:
        self._asked += 1
        vector = np.asarray(question.vector, dtype=np.float32)
        return self._store.nearest(str(self._handle), vector, len(question.nearest))

    def _fill(self, vectors: NDArray[np.float32], rows: dict[str, int]) -> tuple[int, int]:
        """Put the vectors of known chunks into their rows; returns vectors fetched and rows left without one."""
        fetched, filled = 0, np.zeros(len(rows), dtype=bool)
        for ids, page in self._store.vectors(str(self._handle)):
            right = page.ndim == 2 and page.shape[1] == vectors.shape[1]
            self._demand(right, f"{self._collection.name}: the copy holds vectors of another dimension")
            known = [(index, rows[chunk]) for index, chunk in enumerate(ids) if chunk in rows]
            if known:
                source, target = map(list, zip(*known, strict=True))
                vectors[target], filled[target] = page[source], True
            fetched += len(ids)
            self._progress(self._collection.name, fetched)
        return fetched, int((~filled).sum())

    @staticmethod
    def _demand(fulfilled: bool, otherwise: str) -> None:
        if not fulfilled:
            raise StagingInvalid(otherwise)


def staged_files(staging: Path) -> list[FileEntry]:
    """Every staged file with its checksum; its source is the name of its folder, below `extra` for further ones."""
    files = sorted(path for path in staging.rglob("*") if path.is_file())
    return [_entry(path, path.relative_to(staging)) for path in files]


def keep_times(staging: Path, entries: Sequence[FileEntry], remembered: Path) -> int:
    """Give every staged file that is as it was in the last set the time it had then; returns how many those are.

    Staging makes all files anew, and restic reads again what has another time. A time belongs to one content of one
    path: it is that of the moment at which this content was first staged.

    Args:
        remembered: JSON file with the checksums and times of the last set; written anew.
    """
    known, now, kept = _remembered(remembered), dict[str, tuple[str, int]](), 0
    for entry in entries:
        path = staging / entry.path
        sha256, time_ns = known.get(entry.path, ("", 0))
        if sha256 == entry.sha256:
            os.utime(path, ns=(time_ns, time_ns))
            kept += 1
        now[entry.path] = (entry.sha256, path.stat().st_mtime_ns)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    fresh = remembered.with_suffix(".new")
    fresh.write_text(json.dumps(now), encoding="utf-8")
    fresh.replace(remembered)
    return kept


def _remembered(file: Path) -> dict[str, tuple[str, int]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(path): (str(sha256), int(time_ns)) for path, (sha256, time_ns) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # the first set, or not to be understood: everything is read


def _entry(path: Path, relative: Path) -> FileEntry:
    source = relative.parts[1 if relative.parts[0] == EXTRA else 0]
    return FileEntry(source, relative.as_posix(), path.stat().st_size, file_sha256(path))


def _quick_check(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        try:
            said = connection.execute("PRAGMA quick_check").fetchone()[0]
        except sqlite3.DatabaseError as error:
            said = str(error)
    if said != "ok":
        raise StagingInvalid(f"the copy of Chroma's database is damaged: {said}")
