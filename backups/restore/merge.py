"""Keep what was added since a set: its documents, accounts and knowledge bases join the set before it becomes live.

While the services stand still, the database from before is read through the service's view `backup_additions` and the
set's staged database takes up, through `backup_adopt`, what it lacks; files of documents get a second name in the
staged folder, which costs no space. Everything happens in the staging: undoing the restore undoes this too. A document
arrives as it was uploaded, and the ingest process derives the rest once the stack runs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from backups.errors import SourceMissing
from backups.restore import sides
from backups.restore.database import DatabaseNames, Server
from backups.restore.errors import NotCarried
from backups.restore.exchange import link_or_copy, sync_folder
from backups.restore.sides import CannotError

_PAGE = 500

Row = tuple[str, str, str, dict[str, Any]]


@dataclass
class Merged:
    """What joined the set: `added` by kind, documents whose newer content follows, files that were not there."""

    added: Counter[str] = field(default_factory=Counter)
    newer: int = 0
    lost: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {**{name: self.added[name] for name in sorted(self.added)}, "newer": self.newer, "lost": self.lost[:50]}


@dataclass(frozen=True, slots=True)
class Merger:
    """The databases and folders of one restore, before the exchange.

    Attributes:
        live: folder of the documents from before.
        staging: folder of the set's documents.
        between: called before every page of changes; it stops the work by raising.
    """

    server: Server
    names: DatabaseNames
    live: Path
    staging: Path
    between: Callable[[], None]

    def merge(self) -> Merged:
        """Take up everything, in one transaction; done again, nothing more is added.

        Raises:
            NotCarried: the database from before cannot be read, or the set's cannot take it up; nothing has joined.
        """
        with _refused():
            live, restored = sides.databases(self.server, self.names)
            require_readable(self.server, live)
            with sides.reading(self.server, live) as old, sides.changing(self.server, restored) as new:
                return self._merge(old, new)

    def _merge(self, old: psycopg.Connection, new: psycopg.Connection) -> Merged:
        there = set(new.execute("SELECT kind, id, mark FROM backup_additions").fetchall())
        merged, touched = Merged(), set[Path]()
        for kind, identity, mark, body in _pages(old, self.between):
            if (kind, identity, mark) in there:
                continue
            if kind == "document":
                place = self._link(str(body["sha256"]))
                if place is None:
                    merged.lost.append(str(body["name"]))
                    continue
                touched.add(place.parent)
            _count(merged, kind, adopt(new, kind, body))
        for folder in touched:
            sync_folder(folder)
        return merged

    def _link(self, sha256: str) -> Path | None:
        """Give a live file its place in the staging; None when it is not there any more."""
        source, place = (root / sha256[:2] / sha256 for root in (self.live, self.staging))
        if place.exists():
            return place
        if not source.exists():
            return None
        place.parent.mkdir(exist_ok=True)
        link_or_copy(source, place)
        return place


def require_readable(server: Server, name: str) -> None:
    """Return when the database `name` can say what was added to it.

    Raises:
        NotCarried: it is missing, damaged, or of a service too old.
    """
    with _refused():
        if name not in server.oids():
            raise CannotError(f"there is no database {name}")
        with sides.reading(server, name) as connection:
            connection.execute("SELECT FROM backup_additions LIMIT 1")


def adopt(connection: psycopg.Connection, kind: str, body: dict[str, Any]) -> str:
    """Have the service take something up; returns its word for it: added, newer, same or nowhere."""
    row = connection.execute("SELECT backup_adopt(%s::text, %s::jsonb)", (kind, json.dumps(body))).fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def _refused() -> Iterator[None]:
    what = "what was added since the set cannot be kept"
    try:
        yield
    except (CannotError, SourceMissing) as problem:
        raise NotCarried(f"{what}: {problem}") from None
    except psycopg.Error as error:
        raise NotCarried(f"{what}: Postgres says {sides.first_line(error)!r}") from None


def _pages(connection: psycopg.Connection, between: Callable[[], None]) -> Iterator[Row]:
    with connection.transaction(), connection.cursor("additions") as cursor:
        cursor.execute("SELECT kind, id, mark, body FROM backup_additions ORDER BY rank, id")
        while rows := cursor.fetchmany(_PAGE):
            between()
            yield from rows


def _count(merged: Merged, kind: str, outcome: str) -> None:
    if outcome == "newer":
        merged.newer += 1
    elif outcome == "added":
        merged.added[f"{kind}s"] += 1
