"""Access that was taken away after a set was made stays away when the set comes back.

The service says what is revoked in its view `backup_revocations` and revokes through its function `backup_revoke`; its
tables are its own business. Everything here can be done again: what is revoked already is left as it is. The service
itself leaves the last administrator who may sign in; here it is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import psycopg

from backups.restore import sides
from backups.restore.database import DatabaseNames, Server
from backups.restore.sides import Warn

_CONSEQUENCE = (
    "API keys revoked and accounts switched off after the set may work again."
    " Check the API keys and accounts of the restored service."
)

Row = tuple[str, str, datetime | None]


def carry_over(server: Server, names: DatabaseNames, before_change: Callable[[], None], warn: Warn) -> int:
    """Revoke in the set's database what is revoked in the one it replaces, before or after the exchange.

    Args:
        before_change: called before the set's database is changed; it stops the work by raising.
        warn: told what was not carried over, why and what to do; a restore goes on then.

    Returns:
        How many keys and accounts would have come back to life.
    """
    with sides.excused(warn, "Revocations", _CONSEQUENCE):
        live, restored = sides.databases(server, names)
        with sides.reading(server, live) as connection:
            rows = connection.execute("SELECT kind, id, revoked_at FROM backup_revocations ORDER BY 1, 2").fetchall()
        if not rows:
            return 0
        before_change()
        return _apply(server, restored, rows, warn)
    return 0


def _apply(server: Server, name: str, rows: Sequence[Row], warn: Warn) -> int:
    """All of them or, when one fails, none; returns how many changed something."""
    with sides.changing(server, name, [f"{kind} {identity}" for kind, identity, _ in rows]) as connection:
        changed = sum(_revoke(connection, row) for row in rows)
        spared = _still_let_in(connection, [identity for kind, identity, _ in rows if kind == "account"])
    for email in spared:
        warn(
            f"The account {email} was switched off after the set, but it is the last administrator of the set who may"
            " sign in, so it stays on. Sign in with it, let another administrator in, then switch it off again."
        )
    return changed


def _revoke(connection: psycopg.Connection, row: Row) -> bool:
    answer = connection.execute("SELECT backup_revoke(%s::text, %s::text, %s::timestamptz)", row).fetchone()
    return answer is not None and answer[0] is True


def _still_let_in(connection: psycopg.Connection, ids: Sequence[str]) -> list[str]:
    """Addresses of those accounts that the service would not switch off; none where it cannot tell."""
    if connection.execute("SELECT to_regclass('backup_accounts') IS NULL").fetchone() == (True,):
        return []
    rows = connection.execute(
        "SELECT email FROM backup_accounts WHERE active AND id = ANY(%s) ORDER BY email", (list(ids),)
    )
    return [str(email) for (email,) in rows]
