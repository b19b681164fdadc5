"""The databases of a restore: a new one to restore into, and the change of names.

`rag` stays as it is until the swap; the set is restored into `rag_staging_<op8>`; the swap renames the old database to
`rag_kept_<op8>` and the new one to `rag`, both in one transaction. Databases are known by their oid, which a rename
does not change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from backups.errors import SourceMissing
from backups.restore.errors import SwapConflict
from backups.secret import Secret

_MAINTENANCE = "postgres"


@dataclass(frozen=True, slots=True)
class Databases:
    """Oids of the database that was live and of the one that replaces it; `old` is None on a blank server."""

    live: str
    old: int | None
    new: int


@dataclass(frozen=True, slots=True)
class DatabaseNames:
    """The three names that a database takes during one operation."""

    live: str
    operation: str

    @property
    def staging(self) -> str:
        return f"{self.live}_staging_{self.operation[:8]}"

    @property
    def kept(self) -> str:
        return f"{self.live}_kept_{self.operation[:8]}"


@dataclass(frozen=True, slots=True)
class Server:
    """A Postgres server and the account that may create and rename its databases."""

    host: str
    port: int
    user: str
    password: Secret

    @contextmanager
    def connect(self, database: str = _MAINTENANCE) -> Iterator[psycopg.Connection]:
        """An autocommit connection.

        Raises:
            SourceMissing: the server does not let us in.
        """
        with self._open(database) as connection:
            yield connection

    def _open(self, database: str) -> psycopg.Connection:
        try:
            return psycopg.connect(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password.reveal(),
                dbname=database,
                autocommit=True,
                connect_timeout=10,
                application_name="ragkeep-restore",
            )
        except psycopg.OperationalError as error:
            reason = str(error).strip().splitlines()[-1]
            raise SourceMissing(f"the database {database} of the stack does not answer: {reason}") from None

    def oids(self) -> dict[str, int]:
        """Database name -> oid, templates left out."""
        with self.connect() as connection:
            rows = connection.execute("SELECT datname, oid::bigint FROM pg_database WHERE NOT datistemplate").fetchall()
        return {str(name): int(oid) for name, oid in rows}

    def create(self, name: str) -> None:
        """Make an empty database that this account alone may use; a left-over of the same name (an earlier attempt's)
        is dropped first."""
        self.drop(name)
        words = ("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", "REVOKE ALL ON DATABASE {} FROM PUBLIC")
        with self.connect() as connection:
            for statement in words:
                # Who may connect is no part of a dump.
                connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def size(self, name: str) -> int:
        """Bytes of a database; 0 where there is none."""
        query = "SELECT pg_database_size(oid) FROM pg_database WHERE datname = %s"
        with self.connect() as connection:
            row = connection.execute(query, (name,)).fetchone()
        return int(row[0]) if row else 0

    def drop(self, name: str) -> None:
        """Drop a database together with the sessions in it; one that is missing is fine."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def pair(server: Server, names: DatabaseNames) -> Databases:
    """What would change names now.

    Raises:
        SwapConflict: no database is staged.
    """
    oids = server.oids()
    if names.staging not in oids:
        raise SwapConflict(f"the database {names.staging} is missing, so there is nothing to put in place")
    return Databases(live=names.live, old=oids.get(names.live), new=oids[names.staging])


def forward(server: Server, names: DatabaseNames, databases: Databases, between: Callable[[], None]) -> None:
    """Give the new database the live name and the old one the kept name, from any state an earlier attempt left.

    Raises:
        SwapConflict: the new database is gone, or another one has taken a name.
    """
    _settle(server, names, wanted=databases.new, other=databases.old, parking=names.kept, between=between)


def back(server: Server, names: DatabaseNames, databases: Databases, between: Callable[[], None]) -> None:
    """The reverse of `forward`."""
    _settle(server, names, wanted=databases.old, other=databases.new, parking=names.staging, between=between)


def is_forward(oids: dict[str, int], names: DatabaseNames, databases: Databases) -> bool:
    return oids.get(names.live) == databases.new and _name_of(oids, databases.old) in (None, names.kept)


def is_back(oids: dict[str, int], names: DatabaseNames, databases: Databases) -> bool:
    return oids.get(names.live) == databases.old and _name_of(oids, databases.new) in (None, names.staging)


@contextmanager
def enter(server: Server, name: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection to a database even where an exchange has closed it; it is as closed as before after.

    Raises:
        SourceMissing: the server does not let us in.
    """
    with server.connect() as connection:
        row = connection.execute("SELECT datallowconn FROM pg_database WHERE datname = %s", (name,)).fetchone()
    closed = row == (False,)
    if closed:
        _allow_connections(server, name, allowed=True)
    try:
        with server.connect(name) as connection:
            yield connection
    finally:
        if closed:
            _allow_connections(server, name, allowed=False)


def _settle(
    server: Server,
    names: DatabaseNames,
    *,
    wanted: int | None,
    other: int | None,
    parking: str,
    between: Callable[[], None],
) -> None:
    oids = server.oids()
    if wanted is not None and _name_of(oids, wanted) is None:
        raise SwapConflict(f"the database that should become {names.live} is no longer there")
    moves = _moves(oids, names.live, wanted=wanted, other=other, parking=parking)
    if moves:
        between()
        _close(server, [name for name, _ in moves])
        between()
        _rename(server, moves)
    between()
    if wanted is not None:
        _allow_connections(server, names.live, allowed=True)


def _moves(
    oids: dict[str, int], live: str, *, wanted: int | None, other: int | None, parking: str
) -> list[tuple[str, str]]:
    """(from, to) in the order in which they have to happen."""
    moves = []
    place = _name_of(oids, other)
    if place is not None and place != parking:
        moves.append((place, parking))
    origin = _name_of(oids, wanted)
    if origin is not None and origin != live:
        moves.append((origin, live))
    leaving, arriving = {name for name, _ in moves}, {name for _, name in moves}
    taken = sorted(name for name in arriving - leaving if name in oids)
    if taken:
        raise SwapConflict(f"another database named {taken[0]} is in the way")
    return moves


def _name_of(oids: dict[str, int], oid: int | None) -> str | None:
    return next((name for name, number in oids.items() if number == oid), None)


def _allow_connections(server: Server, name: str, *, allowed: bool) -> None:
    answer = sql.SQL("true" if allowed else "false")
    with server.connect() as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), answer))


def _close(server: Server, names: Sequence[str], *, seconds: float = 20) -> None:
    """Refuse new sessions in these databases and end those that are open; a rename fails while one lives.

    Raises:
        SwapConflict: sessions are still there after `seconds`.
    """
    for name in names:
        _allow_connections(server, name, allowed=False)
    end = time.monotonic() + seconds
    with server.connect() as connection:
        while _terminate(connection, names):
            if time.monotonic() > end:
                raise SwapConflict(f"sessions in {' and '.join(names)} did not end within {seconds:g} s")
            time.sleep(0.02)


def _terminate(connection: psycopg.Connection, names: Sequence[str]) -> int:
    """Ask every session in these databases to end; returns how many there were."""
    rows = connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY(%s) AND pid <> pg_backend_pid()",
        (list(names),),
    ).fetchall()
    return len(rows)


def _rename(server: Server, moves: Sequence[tuple[str, str]]) -> None:
    with server.connect() as connection, connection.transaction():
        for source, target in moves:
            connection.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(source), sql.Identifier(target))
            )
