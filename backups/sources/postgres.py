"""A database: connections, the exported snapshot, the dump and its proof; and what the RAG service offers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from backups.errors import SourceMissing, SourceUnreadable, StagingInvalid, ToolMissing, ToolTooOld
from backups.job import PostgresServer
from backups.manifest import Collection
from backups.process import ProcessError, Running, run

Connection = psycopg.Connection[TupleRow]

_NAME = r'(?:"(?:[^"]|"")*"|[^\s".(]+)'
_COPY = re.compile(rf"COPY ({_NAME}\.{_NAME}) .*FROM stdin;$")

REMEDY = "Start the stack (`manage.py up`) and check its database in `manage.py status`; then start again."


def connect(server: PostgresServer, *, name: str) -> Connection:
    """An autocommit connection that shows as `name` in pg_stat_activity.

    Raises:
        SourceMissing: the server does not answer or refuses us.
    """
    try:
        return psycopg.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            dbname=server.database,
            password=server.password().reveal(),
            application_name=f"ragkeep {name}",
            connect_timeout=10,
            autocommit=True,
        )
    except (psycopg.OperationalError, OSError, ValueError) as error:
        where = f"{server.database} at {server.host}:{server.port}"
        raise SourceMissing(f"the database {where} does not answer: {_first_line(error)}", REMEDY) from None


@contextmanager
def snapshot(server: PostgresServer) -> Iterator[Snapshot]:
    """A connection for the exported snapshot; its transaction begins with `export()` and ends with the block."""
    with connect(server, name="backup snapshot") as connection:
        connection.execute("SET idle_in_transaction_session_timeout = 0")
        yield Snapshot(connection)


class Snapshot:
    """One point in time of the database, read by us and, through its id, by pg_dump."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.id = ""

    def export(self) -> None:
        """Begin the transaction and export its snapshot; everything read afterwards is as of this moment.

        Exported again, e.g. for the next attempt of a freeze, the earlier moment is let go.
        """
        if self.id:
            self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.id = str(self._one("SELECT pg_export_snapshot()")[0])

    def versions(self) -> dict[str, Any]:
        number, text, collation = self._one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'),"
            " (SELECT datcollversion FROM pg_database WHERE datname = current_database())"
        )
        extensions: dict[str, str] = dict(self._rows("SELECT extname, extversion FROM pg_extension ORDER BY 1"))
        return {
            "postgres": text,
            "postgres_major": number // 10000,
            "collation": collation,
            "extensions": extensions,
        }

    def counts(self) -> dict[str, int]:
        return {str(name): int(value) for name, value in self._rows("SELECT name, value FROM backup_counts")}

    def files(self) -> dict[str, tuple[str, int]]:
        """Path below the documents folder -> (sha256, bytes)."""
        rows = self._rows("SELECT path, sha256, bytes FROM backup_files ORDER BY path")
        return {str(path): (str(sha256), int(size)) for path, sha256, size in rows}

    def documents(self) -> list[dict[str, Any]]:
        """The documents as people know them: whatever columns the view has, at least name and sha256."""
        return [dict(row[0]) for row in self._rows("SELECT to_jsonb(d) FROM backup_documents d ORDER BY document_id")]

    def collections(self) -> list[Collection]:
        rows = self._rows("SELECT name, dimension, model, model_digest, prefixes FROM backup_collections ORDER BY name")
        return [Collection(row[0], int(row[1]), row[2] or "", row[3] or "", row[4] or "") for row in rows]

    def chunks(self, collection: str) -> list[str]:
        """Ids of the chunks of ready documents in a collection, sorted."""
        rows = self._connection.execute(
            "SELECT chunk_id FROM backup_chunks WHERE collection = %s ORDER BY chunk_id", (collection,)
        )
        return [str(row[0]) for row in rows]

    def passages(self, wanted: int) -> dict[str, str]:
        """A passage of each of at most `wanted` ready documents, spread over all of them, by the document's id.

        Empty where the service offers none: then a drill has no questions of its own.
        """
        if self._one("SELECT to_regclass('backup_passages') IS NULL")[0]:
            return {}
        rows = self._connection.execute(
            "WITH ready AS (SELECT document_id, row_number() OVER (ORDER BY document_id) AS place,"
            " count(*) OVER () AS count FROM backup_documents WHERE state = 'ready'),"
            " chosen AS (SELECT document_id FROM ready WHERE place %% greatest(count / %s, 1) = 0 LIMIT %s)"
            " SELECT DISTINCT ON (p.document_id) p.document_id, p.text FROM backup_passages p JOIN chosen"
            " USING (document_id) ORDER BY p.document_id, length(p.text) DESC, p.ordinal",
            (wanted, wanted),
        )
        return {str(document): str(text) for document, text in rows}

    def holders(self, texts: list[str]) -> dict[str, list[str]]:
        """The documents whose passages contain each of `texts`, letter by letter."""
        if not texts:
            return {}
        rows = self._connection.execute(
            "SELECT t.text, array_agg(DISTINCT p.document_id) FROM unnest(%s::text[]) AS t(text)"
            " JOIN backup_passages p ON strpos(p.text, t.text) > 0 GROUP BY 1",
            (texts,),
        )
        return {str(text): [str(document) for document in documents] for text, documents in rows}

    def rows_per_table(self) -> dict[str, int]:
        """Rows of every ordinary table, as `schema.table`, quoted as in SQL; those of extensions are not dumped."""
        tables = self._rows(
            "SELECT format('%I.%I', n.nspname, c.relname), n.nspname, c.relname"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
            " AND d.deptype = 'e') ORDER BY 2, 3"
        )
        return {name: self._count(schema, table) for name, schema, table in tables}

    def bytes(self) -> int:
        return int(self._one("SELECT pg_database_size(current_database())")[0])

    def _count(self, schema: str, table: str) -> int:
        query = psycopg.sql.SQL("SELECT count(*) FROM ONLY {}").format(psycopg.sql.Identifier(schema, table))
        found = self._connection.execute(query).fetchone()
        assert found is not None
        return int(found[0])

    def _one(self, query: str) -> TupleRow:
        return self._rows(query)[0]

    def _rows(self, query: str) -> list[TupleRow]:
        try:
            return self._connection.execute(query.encode()).fetchall()
        except psycopg.Error as error:
            name = self._connection.info.dbname
            raise SourceUnreadable(f"the database {name} cannot be read: {_first_line(error)}", REMEDY) from None


@dataclass(frozen=True, slots=True)
class Dumper:
    """pg_dump and its kin for one server. `pg_bin`: their folder."""

    pg_bin: Path
    server: PostgresServer

    def check_version(self, server_major: int) -> str:
        """The version of pg_dump.

        Raises:
            ToolMissing, ToolTooOld: it is not there, or not of the server's major version.
        """
        try:
            said = run((str(self.pg_bin / "pg_dump"), "--version"), timeout=30).stdout
        except ProcessError as error:
            raise ToolMissing(f"pg_dump does not start: {error}", "Run `manage.py doctor`.") from None
        found = re.search(r"(\d+)(?:\.\d+)*", said)
        if found is None or int(found.group(1)) != server_major:
            raise ToolTooOld(
                f"pg_dump is {said.strip()!r}, the server is version {server_major}: they must be the same",
                "Install the PostgreSQL client of the server's major version.",
            )
        return found.group(0)

    def dump(self, snapshot_id: str, target: Path) -> None:
        self._run(dump_argv(self.pg_bin, self.server, snapshot_id, target))

    def globals(self, target: Path) -> None:
        self._run(globals_argv(self.pg_bin, self.server, target))

    def rows(self, dump: Path) -> dict[str, int]:
        """Rows of every table that a dump holds, as `schema.table`; the whole dump is read once.

        Raises:
            StagingInvalid: it is empty, cut short or no dump.
        """
        try:
            with Running(rows_argv(self.pg_bin, dump)) as reading:
                found = count_rows(reading.lines())
                code = reading.wait()
        except ProcessError as error:
            raise ToolMissing(f"pg_restore does not start: {error}", "Run `manage.py doctor`.") from None
        if code != 0:
            said = reading.stderr.strip().splitlines()[-1:]
            raise StagingInvalid(f"the database dump cannot be read back: {' '.join(said)}")
        return found

    def _run(self, argv: tuple[str, ...]) -> None:
        try:
            run(argv, env={**os.environ, "PGPASSWORD": self.server.password().reveal()})
        except ProcessError as error:
            raise SourceUnreadable(f"the database could not be dumped: {error}", REMEDY) from None


def dump_argv(pg_bin: Path, server: PostgresServer, snapshot_id: str, target: Path) -> tuple[str, ...]:
    """pg_dump of exactly the exported snapshot; uncompressed, so that restic finds what did not change."""
    return (
        str(pg_bin / "pg_dump"), *_where(server), f"--dbname={server.database}", f"--snapshot={snapshot_id}",
        "--format=custom", "--compress=0", f"--file={target}",
    )  # fmt: skip


def globals_argv(pg_bin: Path, server: PostgresServer, target: Path) -> tuple[str, ...]:
    """Roles and their memberships; passwords come from the environment of the stack that is restored into."""
    return (
        str(pg_bin / "pg_dumpall"), *_where(server), f"--database={server.database}", "--globals-only",
        "--no-role-passwords", f"--file={target}",
    )  # fmt: skip


def rows_argv(pg_bin: Path, dump: Path) -> tuple[str, ...]:
    """The rows of a dump as SQL on standard output."""
    return (str(pg_bin / "pg_restore"), "--data-only", "--file=-", str(dump))


def count_rows(script: Iterable[str]) -> dict[str, int]:
    """Rows of each table in the lines of a data-only script: those between `COPY table ...` and a lone `\\.`."""
    found: dict[str, int] = {}
    lines = iter(script)
    for line in lines:
        if match := _COPY.match(line):
            found[match[1]] = sum(1 for _ in takewhile(lambda row: row != "\\.", lines))
    return found


def demand_rows(dumped: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """Prove that a dump holds every row of the snapshot it was made from.

    Raises:
        StagingInvalid: naming the tables that lack some.
    """
    wrong = [
        f"{table}: {dumped[table]:,} rows instead of {rows:,}" if table in dumped else f"{table} is not in it"
        for table, rows in expected.items()
        if table not in dumped or dumped[table] != rows
    ]
    if wrong:
        raise StagingInvalid(f"the database dump is not whole: {'; '.join(wrong[:5])}", tables=wrong[:50])


def _where(server: PostgresServer) -> tuple[str, ...]:
    return (f"--host={server.host}", f"--port={server.port}", f"--username={server.user}", "--no-password")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
