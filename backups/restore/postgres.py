"""Restoring a dump into a new database."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from backups.errors import ToolMissing
from backups.process import ProcessError, Running
from backups.restore.database import Server
from backups.restore.errors import SetDamaged

# Ownership and grants belong to the roles of the stack that is restored into; no role comes back with a set.
_OURS = ("--no-owner", "--no-privileges")
_JOBS = 2


def restore_argv(pg_bin: Path, server: Server, database: str, dump: Path) -> tuple[str, ...]:
    """pg_restore into an existing, empty database, all or nothing."""
    return (
        str(pg_bin / "pg_restore"), "--exit-on-error", f"--jobs={_JOBS}", *_OURS,
        "--host", server.host, "--port", str(server.port), "--username", server.user, "--no-password",
        "--dbname", database, str(dump),
    )  # fmt: skip


def list_argv(pg_bin: Path, dump: Path) -> tuple[str, ...]:
    return (str(pg_bin / "pg_restore"), "--list", str(dump))


def table_argv(pg_bin: Path, dump: Path, table: str) -> tuple[str, ...]:
    """Write the rows of one table to standard output as COPY text."""
    return (str(pg_bin / "pg_restore"), "--data-only", f"--table={table}", "--file=-", str(dump))


def list_dump(pg_bin: Path, dump: Path) -> int:
    """Entries of a dump's table of contents.

    Raises:
        SetDamaged: pg_restore cannot read it, or it is empty.
    """
    entries = sum(1 for line in _run(list_argv(pg_bin, dump)) if line and not line.startswith(";"))
    if not entries:
        raise SetDamaged(f"{dump.name} holds nothing")
    return entries


def restore_dump(pg_bin: Path, server: Server, database: str, dump: Path) -> None:
    """Fill a new database from a dump and gather statistics for the planner.

    Raises:
        SetDamaged: pg_restore stopped at an error.
    """
    server.create(database)
    password = {**os.environ, "PGPASSWORD": server.password.reveal()}
    for _ in _run(restore_argv(pg_bin, server, database, dump), password):
        pass
    with server.connect(database) as connection:
        connection.execute("ANALYZE")


def table_rows(pg_bin: Path, dump: Path, table: str) -> Iterator[dict[str, str]]:
    """The rows of one table of a dump, NULL as an empty text; no server is needed."""
    columns: Sequence[str] | None = None
    for line in _run(table_argv(pg_bin, dump, table)):
        if columns is None and line.startswith("COPY "):
            columns = [name.strip().strip('"') for name in line.partition("(")[2].rpartition(")")[0].split(",")]
        elif line == "\\.":
            columns = None
        elif columns is not None:
            yield dict(zip(columns, map(_unescaped, line.split("\t")), strict=False))


def _unescaped(value: str) -> str:
    r"""A value of COPY's text format; names hold at most `\\`, tabs and line ends."""
    if value == "\\N":
        return ""
    pieces = value.split("\\\\")
    for escape, meant in (("\\t", "\t"), ("\\n", "\n"), ("\\r", "\r")):
        pieces = [piece.replace(escape, meant) for piece in pieces]
    return "\\".join(pieces)


def _run(argv: Sequence[str], env: dict[str, str] | None = None) -> Iterator[str]:
    """Lines of standard output of a tool that dies with us.

    Raises:
        ToolMissing: it could not be started.
        SetDamaged: it failed.
    """
    try:
        running = Running(argv, env=env)
    except ProcessError as error:
        raise ToolMissing(str(error), "Install the Postgres client programs of the set's major version.") from None
    with running:
        yield from running.lines()
        code = running.wait()
    if code != 0:
        words = running.stderr.strip().splitlines()
        raise SetDamaged(f"pg_restore failed (status {code}): {words[-1] if words else 'it said nothing'}",
                         stderr=words[-20:])  # fmt: skip
