"""The portal's part of a set: bring it out of the repository, prove it, put its database in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from backups.errors import ManifestInvalid
from backups.manifest import STAGED, FileEntry
from backups.repository import Repository
from backups.restore import database, postgres
from backups.restore.database import DatabaseNames, Server
from backups.restore.errors import SetDamaged
from backups.restore.folders import remove_tree
from backups.restore.sets import FoundSet
from backups.sources.documents import file_sha256
from backups.sources.portal import DUMP_FILE, FACTS_FILE, NAME, SECRETS, Facts

PLACE = f"extra/{NAME}"


@dataclass(frozen=True, slots=True)
class PortalPart:
    """The portal's part of a set in a folder of this machine."""

    folder: Path
    facts: Facts

    @property
    def dump(self) -> Path:
        return self.folder / DUMP_FILE

    def secrets(self) -> Iterator[tuple[str, str, Path]]:
        """(name below the folder of secrets, path it had, file here)."""
        for kept in self.facts.files:
            yield kept.name, kept.path, self.folder / SECRETS / kept.name


def entries_of(found: FoundSet) -> list[FileEntry]:
    """The files of the portal's part; none when the set has no such part."""
    return [entry for entry in found.manifest.files if entry.path.startswith(f"{PLACE}/")]


def fetch(found: FoundSet, repository: Repository, folder: Path) -> PortalPart | None:
    """Bring the portal's part into `folder`, which is emptied first; None when the set has none.

    Raises:
        SetDamaged: a file is not as set.json has it.
        ManifestInvalid: what describes the part cannot be read.
    """
    entries = entries_of(found)
    if not entries:
        return None
    remove_tree(folder)
    folder.mkdir(parents=True, mode=0o700)
    repository.restore(found.snapshot.id, folder=f"/{STAGED}/{PLACE}", target=folder)
    return open_part(found, folder)


def open_part(found: FoundSet, folder: Path) -> PortalPart:
    """The part that lies in `folder` already, proven again.

    Raises:
        SetDamaged, ManifestInvalid
    """
    for entry in entries_of(found):
        file = folder / entry.path.removeprefix(f"{PLACE}/")
        if not file.is_file() or file_sha256(file) != entry.sha256:
            raise SetDamaged(f"the portal's {file.name} is not as set.json has it", files=[entry.path])
    try:
        text = (folder / FACTS_FILE).read_text(encoding="utf-8")
    except OSError:
        raise ManifestInvalid(f"the portal's part of set {found.manifest.set_id} has no {FACTS_FILE}") from None
    return PortalPart(folder, Facts.from_json(text))


def put_in_place(part: PortalPart, pg_bin: Path, server: Server, name: str) -> dict[str, int]:
    """Replace the database `name` by the dump: filled and counted beside it first, then both change names at once.

    Returns:
        Rows per table.

    Raises:
        SetDamaged: the dump is not whole, or rows are missing after it was read.
    """
    names = DatabaseNames(name, str(uuid4()))
    for left in [one for one in server.oids() if one.startswith((f"{name}_staging_", f"{name}_kept_"))]:
        server.drop(left)
    postgres.restore_dump(pg_bin, server, names.staging, part.dump)
    counted = _count(server, names.staging, part.facts.tables)
    database.forward(server, names, database.pair(server, names), between=lambda: None)
    server.drop(names.kept)
    return counted


def _count(server: Server, name: str, expected: dict[str, int]) -> dict[str, int]:
    with server.connect(name) as connection:
        counted: dict[str, int] = {}
        for table in expected:
            # The names come quoted out of the database that was dumped, see Snapshot.rows_per_table.
            row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608
            counted[table] = int(row[0]) if row else 0
    wrong = [table for table, rows in expected.items() if counted[table] != rows]
    if wrong:
        raise SetDamaged(f"the portal's database came back with other rows in {', '.join(wrong[:5])}", tables=wrong)
    return counted
