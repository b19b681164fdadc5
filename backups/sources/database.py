"""A further Postgres database, on the stack's own server or on any other."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from backups.errors import SourceMissing
from backups.fields import Fields
from backups.job import PostgresServer
from backups.sources import postgres
from backups.sources.source import Part

DUMP_FILE = "database.dump"
GLOBALS_FILE = "globals.sql"
# Where Debian keeps the programs of each major version.
_PACKAGED = "/usr/lib/postgresql/{major}/bin"


class DatabaseSource:
    """Settings: those of a PostgresServer. `beside`: the stack's own server, `pg_bin`: the stack's own programs.

    On the stack's own server the snapshot is exported inside the freeze: its moment is that of the set. On another one
    it is taken right after the thaw and carries its own time: a freeze never waits for another machine.
    """

    def __init__(self, fields: Fields, beside: PostgresServer, pg_bin: Path) -> None:
        self._server = PostgresServer.read(fields)
        self._same_server = (self._server.host, self._server.port) == (beside.host, beside.port)
        self._dumper = postgres.Dumper(pg_bin, self._server)
        self._held = ExitStack()
        self._snapshot: postgres.Snapshot | None = None
        self._taken_at: datetime | None = None
        self._tables: dict[str, int] = {}
        self._version = ""

    def check(self) -> int:
        """Raises: SourceMissing, ToolMissing, ToolTooOld: no pg_dump of the server's major version is here."""
        with postgres.snapshot(self._server) as looked_at:
            versions = looked_at.versions()
            size = looked_at.bytes()
        self._version, major = str(versions["postgres"]), int(versions["postgres_major"])
        packaged = Path(_PACKAGED.format(major=major))
        if packaged.is_dir():
            self._dumper = postgres.Dumper(packaged, self._server)
        self._dumper.check_version(major)
        return size

    def prepare(self, folder: Path) -> None:
        self._snapshot = self._held.enter_context(postgres.snapshot(self._server))

    def freeze(self) -> None:
        if self._same_server:
            self._export()

    def dump(self, folder: Path) -> None:
        if not self._same_server:
            self._export()
        snapshot = self._opened()
        self._dumper.dump(snapshot.id, folder / DUMP_FILE)
        self._dumper.globals(folder / GLOBALS_FILE)
        self._tables = snapshot.rows_per_table()
        self._held.close()

    def verify(self, folder: Path) -> Part:
        rows = self._dumper.rows(folder / DUMP_FILE)
        postgres.demand_rows(rows, self._tables)
        server = self._server
        return Part(
            taken_at=self._taken_at or datetime.now(UTC),
            in_freeze=self._same_server,
            origin={"host": server.host, "port": server.port, "user": server.user, "database": server.database},
            details={"tables": self._tables, "postgres": self._version},
        )

    def close(self) -> None:
        self._held.close()

    def _export(self) -> None:
        self._opened().export()
        self._taken_at = datetime.now(UTC)

    def _opened(self) -> postgres.Snapshot:
        if self._snapshot is None:
            raise SourceMissing(f"the database {self._server.database} was not opened")
        return self._snapshot
