"""Compare what came out of the repository with what set.json says: nothing is put in place on trust."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg

from backups.manifest import FileEntry, Manifest
from backups.restore.errors import SetDamaged
from backups.sources.vectors import DATABASE

_WORKERS = 4
NAMED = 20

Advance = Callable[[int, int], None]


def inner_path(entry: FileEntry) -> str:
    """Where a file lies inside the folder that its source is restored into."""
    return entry.path if entry.source == "documents" else entry.path.removeprefix(f"{entry.source}/")


def verify_files(entries: Iterable[FileEntry], root: Path, advance: Advance = lambda _done, _all: None) -> int:
    """Check presence, length and SHA-256 of files below `root`.

    Args:
        advance: told (files checked, files in all).

    Returns:
        How many were checked.

    Raises:
        SetDamaged: naming the first files that differ.
    """
    wanted = list(entries)
    wrong = find_flaws(wanted, root, advance)
    if wrong:
        raise SetDamaged(
            f"{len(wrong)} of {len(wanted)} files are not as set.json has them: {wrong[0]}", files=wrong[:NAMED]
        )
    return len(wanted)


def find_flaws(entries: Sequence[FileEntry], root: Path, advance: Advance = lambda _done, _all: None) -> list[str]:
    """`path (what is wrong)` of every file below `root` that is not as listed; each one is read in full."""
    wrong: list[str] = []
    with ThreadPoolExecutor(_WORKERS) as pool:
        for done, flaw in enumerate(pool.map(lambda entry: _flaw(entry, root), entries), start=1):
            wrong += [flaw] if flaw else []
            advance(done, len(entries))
    return wrong


def remove_unlisted(entries: Iterable[FileEntry], root: Path) -> list[str]:
    """Remove files below `root` that the set does not list, such as documents uploaded after its point in time.

    Returns:
        Their paths relative to `root`.
    """
    listed = {inner_path(entry) for entry in entries}
    extra = [path for path in root.rglob("*") if not path.is_dir() and str(path.relative_to(root)) not in listed]
    for path in extra:
        path.unlink()
    return [str(path.relative_to(root)) for path in extra]


def verify_vectors(folder: Path, manifest: Manifest) -> dict[str, int]:
    """Check Chroma's SQLite and count the vectors of every collection.

    Returns:
        Collection name -> vectors.

    Raises:
        SetDamaged: the file is damaged, or a count differs from the set's.
    """
    found = count_vectors(folder)
    for collection in manifest.collections:
        if found.get(collection.name, 0) != collection.vectors:
            raise SetDamaged(
                f"collection {collection.name} holds {found.get(collection.name, 0)} vectors, "
                f"the set has {collection.vectors}"
            )
    return found


def count_vectors(folder: Path) -> dict[str, int]:
    """Vectors per collection according to a Chroma folder that no server has open."""
    file = folder / DATABASE
    if not file.exists():
        return {}
    # Immutable: a plain read of a WAL database would leave -wal and -shm files beside it.
    how = "mode=ro" if Path(f"{file}-wal").exists() else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?{how}", uri=True)) as connection:
            answer = connection.execute("PRAGMA quick_check").fetchone()[0]
            if answer != "ok":
                raise SetDamaged(f"{DATABASE} is damaged: {answer}")
            return dict(connection.execute(_COUNTS).fetchall())
    except sqlite3.DatabaseError as error:
        raise SetDamaged(f"{DATABASE} cannot be read: {error}") from None


_COUNTS = """
SELECT c.name, count(e.id) FROM collections c
LEFT JOIN segments s ON s.collection = c.id AND s.scope = 'METADATA'
LEFT JOIN embeddings e ON e.segment_id = s.id
GROUP BY c.name
"""


def verify_database(connection: psycopg.Connection, manifest: Manifest) -> dict[str, int]:
    """Compare the restored database with the set: its counts, the chunks per collection, the files it lists.

    Returns:
        backup_counts of the restored database.

    Raises:
        SetDamaged: naming what differs.
    """
    try:
        counts = dict(_rows(connection, "SELECT name, value FROM backup_counts"))
        chunks = dict(_rows(connection, "SELECT collection, count(*) FROM backup_chunks GROUP BY collection"))
        files = {str(name) for name, _ in _rows(connection, "SELECT path, bytes FROM backup_files")}
    except psycopg.errors.UndefinedTable as error:
        raise SetDamaged(f"the restored database lacks what a backup reads: {error.diag.message_primary}") from None
    wrong = [
        *_differences("rows", counts, {name: value for name, value in manifest.counts.items() if name in counts}),
        *_differences("chunks of", chunks, {found.name: found.chunks for found in manifest.collections}),
    ]
    absent = files - {entry.path for entry in manifest.files_of("documents")}
    if len(absent) > len(manifest.missing):
        wrong.append(f"{len(absent)} documents of the database are not in the set")
    if wrong:
        raise SetDamaged("the restored database is not what the set describes: " + "; ".join(wrong))
    return counts


def _rows(connection: psycopg.Connection, query: str) -> Iterator[tuple[str, int]]:
    for name, value in connection.execute(query.encode()):
        yield str(name), int(value)


def _differences(what: str, found: Mapping[str, int], wanted: Mapping[str, int]) -> list[str]:
    return [
        f"{what} {name}: {found.get(name, 0)} instead of {value}"
        for name, value in sorted(wanted.items())
        if found.get(name, 0) != value
    ]


def _flaw(entry: FileEntry, root: Path) -> str:
    """What is wrong with one file, empty when nothing is."""
    path = root / inner_path(entry)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            length = file.tell()
    except OSError as error:
        return f"{entry.path} ({error.strerror})"
    if length != entry.bytes:
        return f"{entry.path} ({length} bytes instead of {entry.bytes})"
    return "" if digest == entry.sha256 else f"{entry.path} (other content)"


def verify_models(manifest: Manifest) -> None:
    """Check that the set lists every blob its models consist of.

    Raises:
        SetDamaged: naming a model that is not whole.
    """
    listed = {inner_path(entry) for entry in manifest.files_of("models")}
    for model in manifest.models:
        manifest_path = f"manifests/{model.manifest.removeprefix('manifests/')}"
        wanted = {manifest_path, *(f"blobs/{blob.file_name}" for blob in model.blobs)}
        if not wanted <= listed:
            raise SetDamaged(f"the set does not hold all of model {model.name}", files=sorted(wanted - listed))
