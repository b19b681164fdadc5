"""Single documents of a set: found by name in its dump, their files fetched one by one, and handed back to a stack.

Nothing is stopped for this. A document comes back as if it had been uploaded again: file first, then its row, in one
transaction under the lock that keeps others from removing that content meanwhile.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from backups.manifest import FileEntry
from backups.repository import Repository
from backups.restore import merge, postgres, verify
from backups.restore.errors import DocumentUnknown, NotCarried
from backups.restore.exchange import sync_folder
from backups.restore.folders import remove_tree
from backups.restore.livestate import damaged_files
from backups.restore.preview import GONE
from backups.restore.sets import FoundSet
from backups.restore.swap import Target

_NAMED = 5
# restic takes one --include for each file: more than that and whole folders are cheaper.
_SINGLE = 500

Tables = Mapping[str, Sequence[Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class Selected:
    """A document of a set; `body` is what the service takes up (see its function backup_adopt)."""

    name: str
    sha256: str
    bytes: int
    body: dict[str, Any]


def choose(pg_bin: Path, dump: Path, names: Collection[str]) -> list[Selected]:
    """The documents with these names, paths or ids; a name that several have means all of them.

    Raises:
        DocumentUnknown: the set has none of one of the names.
    """
    tables = {table: list(postgres.table_rows(pg_bin, dump, table)) for table in ("documents", "bases", "users")}
    rows = [row for row in tables["documents"] if row.get("state") not in (*GONE, "received")]
    found = [row for row in rows if {row["name"], row["path"], row["id"]} & set(names)]
    known = {key for row in found for key in (row["name"], row["path"], row["id"])}
    unknown = sorted(set(names) - known)
    if unknown:
        raise DocumentUnknown(f"the set has no document {', '.join(unknown[:_NAMED])}")
    return [_selected(row, tables) for row in found]


def fetch_files(repository: Repository, found: FoundSet, wanted: Collection[str], folder: Path) -> int:
    """Bring files of documents, by SHA-256, into `folder` and prove them; returns their bytes.

    Raises:
        SetDamaged: one of them is not as set.json has it.
    """
    entries = [entry for entry in found.manifest.files_of("documents") if entry.sha256 in wanted]
    remove_tree(folder)
    folder.mkdir(parents=True)
    if entries:
        includes = [f"/{entry.path}" for entry in entries] if len(entries) <= _SINGLE else []
        root = found.manifest.roots["documents"]
        repository.restore(found.snapshot.id, folder=root, target=folder, includes=includes)
        verify.verify_files(entries, folder)
    return sum(entry.bytes for entry in entries)


def lost_files(target: Target, found: FoundSet) -> list[FileEntry]:
    """Files that the live database lists, the live folder lacks and the set has.

    Raises:
        NotCarried: there is no database of the service to compare with.
    """
    if target.server is None or target.database not in target.server.oids():
        raise NotCarried("there is no database that says which files are lost", "Restore the whole set instead.")
    with target.server.connect(target.database) as connection:
        lost = set(damaged_files(connection, target.folders("documents").live))
    return [entry for entry in found.manifest.files_of("documents") if entry.sha256 in lost]


def put_files(entries: Collection[FileEntry], folder: Path, live: Path) -> int:
    """Move fetched files into the live folder, also over damaged ones; returns how many."""
    for entry in entries:
        _place(folder / entry.path, live / entry.path)
    return len(entries)


def hand_back(target: Target, chosen: Sequence[Selected], folder: Path) -> dict[str, int]:
    """Give documents to the live stack; returns how many were added, newer, same or had nowhere to go.

    Raises:
        NotCarried: the service cannot take them up.
    """
    if target.server is None:
        raise NotCarried("there is no database that could take documents up")
    outcome: Counter[str] = Counter()
    live = target.folders("documents").live
    with target.server.connect(target.database) as connection:
        for document in chosen:
            inner = Path(document.sha256[:2], document.sha256)
            try:
                with connection.transaction():
                    lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
                    connection.execute(lock, (document.sha256,))
                    if not (live / inner).exists():
                        _place(folder / inner, live / inner)
                    outcome[merge.adopt(connection, "document", document.body)] += 1
            except psycopg.errors.UndefinedFunction:
                raise NotCarried("the service is too old to take documents up", "Update the stack first.") from None
    return dict(outcome)


def _place(source: Path, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    draft = place.with_name(f".{place.name}.restored")
    with source.open("rb") as file:
        os.fsync(file.fileno())
    if source.stat().st_dev == place.parent.stat().st_dev:
        draft.unlink(missing_ok=True)
        os.link(source, draft)
    else:
        draft.write_bytes(source.read_bytes())
    draft.replace(place)
    sync_folder(place.parent)


def _selected(row: Mapping[str, str], tables: Tables) -> Selected:
    base = next((one for one in tables["bases"] if one["id"] == row["base_id"]), {})
    emails = {one["id"]: one["email"] for one in tables["users"]}
    body = {
        "id": row["id"], "base_id": row["base_id"], "base": base.get("name"), "personal": base.get("personal") == "t",
        "owner": emails.get(base.get("owner_id", "")), "created_by": emails.get(row.get("created_by", "")),
        "path": row["path"], "name": row["name"], "sha256": row["sha256"], "bytes": int(row["bytes"]),
        "created_at": row["created_at"],
    }  # fmt: skip
    return Selected(row["name"], row["sha256"], int(row["bytes"]), body)
