"""Connections to Postgres: pools, and the advisory locks that the backup agent knows too."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from rag_api.settings import Settings

LOCK_CLASS = 1380009803
WRITE_GATE = 1
REMOVAL_GATE = 2
MIGRATION_LOCK = 3
INGEST_LOCK = 4

Row = DictRow
Connection = psycopg.Connection[Row]
Pool = ConnectionPool[Connection]

# At most four writes to Chroma are in flight: with 16 queued writers its readers stop too.
GATE_CONNECTIONS = 4


def open_pool(settings: Settings, *, name: str, size: int) -> Pool:
    """Open a pool of up to `size` connections whose rows are dictionaries.

    It does not wait for the server: a database that is down fails the first use with `psycopg.OperationalError`
    (`PoolTimeout` after 10 s) and is found again by itself.
    """
    kwargs: dict[str, Any] = {"row_factory": dict_row, "application_name": f"ragkeep-{name}", "connect_timeout": 5}
    return ConnectionPool(
        settings.postgres_conninfo(),
        connection_class=psycopg.Connection[DictRow],
        kwargs=kwargs,
        min_size=1,
        max_size=size,
        timeout=10,
        name=name,
        check=ConnectionPool.check_connection,
        open=True,
    )


def enter_write_gate(connection: Connection) -> None:
    """Take the shared side of the write gate until the end of the connection's transaction.

    It is the committing connection itself that holds the gate: Postgres lets go of it only after the commit is
    visible, so whoever obtains the exclusive side next sees both the vectors and the rows that belong to them.
    """
    connection.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", (LOCK_CLASS, WRITE_GATE))


def try_removal_gate(connection: Connection) -> bool:
    """Take the exclusive side of the removal gate until the end of the transaction; False when a backup holds it."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, %s) AS free", (LOCK_CLASS, REMOVAL_GATE)).fetchone()
    return bool(row and row["free"])
