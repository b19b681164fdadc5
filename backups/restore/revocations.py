"""Access that was taken away after a set was made stays away when the set comes back.

The service says what is revoked in its view `backup_revocations` and revokes through its function `backup_revoke`; its
tables are its own business. Everything here can be done again: what is revoked already is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import psycopg

from backups.errors import SourceMissing
from backups.restore import database
from backups.restore.database import DatabaseNames, Server

# The services stand still meanwhile: a database that does not answer by then is given up.
_SECONDS = 60
_NAMED = 10
_CONSEQUENCE = (
    "API keys revoked and accounts switched off after the set may work again."
    " Check the API keys and accounts of the restored service."
)

Row = tuple[str, str, datetime | None]


class _NotCarriedError(Exception):
    """Why, as a part of a sentence."""


def carry_over(
    server: Server, names: DatabaseNames, before_change: Callable[[], None], warn: Callable[[str], None]
) -> int:
    """Revoke in the set's database what is revoked in the one it replaces, before or after the exchange.

    Args:
        before_change: called before the set's database is changed; it stops the work by raising.
        warn: told what was not carried over, why and what to do; a restore goes on then.

    Returns:
        How many keys and accounts would have come back to life.
    """
    try:
        live, restored = _places(server.oids(), names)
        rows = _read(server, live)
        if not rows:
            return 0
        before_change()
        return _apply(server, restored, rows)
    except (_NotCarriedError, SourceMissing) as problem:
        warn(f"Revocations were not carried over: {problem}. {_CONSEQUENCE}")
    except psycopg.Error as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        warn(f"Revocations were not carried over: Postgres says {reason!r}. {_CONSEQUENCE}")
    return 0


def _places(oids: dict[str, int], names: DatabaseNames) -> tuple[str, str]:
    """(database that is or was live, database of the set): both are renamed in one transaction."""
    live, restored = (names.live, names.staging) if names.staging in oids else (names.kept, names.live)
    if live not in oids:
        raise _NotCarriedError(f"there is no database {names.live} from before the restore")
    return live, restored


def _read(server: Server, name: str) -> Sequence[Row]:
    with database.enter(server, name) as connection:
        connection.execute("SET default_transaction_read_only = on")
        _limit(connection)
        try:
            return connection.execute("SELECT kind, id, revoked_at FROM backup_revocations ORDER BY 1, 2").fetchall()
        except psycopg.errors.UndefinedTable:
            raise _NotCarriedError(f"the database {name} is of a service too old to list them, or damaged") from None


def _apply(server: Server, name: str, rows: Sequence[Row]) -> int:
    """All of them or, when one fails, none; returns how many changed something."""
    with database.enter(server, name) as connection:
        _limit(connection)
        try:
            with connection.transaction():
                return sum(_revoke(connection, row) for row in rows)
        except psycopg.errors.UndefinedFunction:
            raise _NotCarriedError(f"the set is of a service too old to take them ({_listed(rows)})") from None


def _revoke(connection: psycopg.Connection, row: Row) -> bool:
    answer = connection.execute("SELECT backup_revoke(%s::text, %s::text, %s::timestamptz)", row).fetchone()
    return answer is not None and answer[0] is True


def _limit(connection: psycopg.Connection) -> None:
    connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{_SECONDS}s",))


def _listed(rows: Sequence[Row]) -> str:
    named = ", ".join(f"{kind} {identity}" for kind, identity, _ in rows[:_NAMED])
    more = len(rows) - _NAMED
    return f"{named} and {more} more" if more > 0 else named
