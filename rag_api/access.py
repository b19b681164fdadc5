"""Who may do what: the one authorisation function of the service.

Roles on a knowledge base: its owner may do everything, a writer may add and remove documents, a reader may read.
Administrators manage accounts; they get no way into other people's documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from rag_api.db import Connection
from rag_api.errors import ApiError, not_found


@dataclass(frozen=True, slots=True)
class User:
    """A signed-in, active account."""

    id: UUID
    email: str
    name: str
    is_admin: bool


class Need(IntEnum):
    """What an action demands; on a base a higher one includes the lower ones."""

    READ = 1
    WRITE = 2
    OWN = 3
    ADMINISTER = 4


ROLE_GRANTS = {"reader": Need.READ, "writer": Need.WRITE, "owner": Need.OWN}


def authorise(connection: Connection, user: User, need: Need, base_id: UUID | None = None) -> None:
    """Let the user pass or raise; every route that touches a base or an account comes through here.

    Args:
        base_id: the knowledge base in question; None for the administration of accounts.

    Raises:
        ApiError: 404 when the base is not the user's to see (as when it does not exist), 403 when it may be seen
            but not this be done.
    """
    if base_id is None:
        if need is not Need.ADMINISTER or not user.is_admin:
            raise ApiError(403, "forbidden", "Only an administrator may manage accounts; ask one.")
        return
    row = connection.execute(
        "SELECT CASE WHEN b.owner_id = %(user)s THEN 'owner' ELSE m.role END AS role FROM bases b"
        " LEFT JOIN members m ON m.base_id = b.id AND m.user_id = %(user)s WHERE b.id = %(base)s",
        {"user": user.id, "base": base_id},
    ).fetchone()
    if row is None or row["role"] is None:
        raise not_found("knowledge base")
    if ROLE_GRANTS[row["role"]] < need:
        raise ApiError(
            403, "forbidden", f"Your role in this knowledge base is {row['role']}; ask its owner for more rights."
        )


def bases_visible(connection: Connection, user: User) -> list[UUID]:
    """The bases that the user owns or is a member of."""
    rows = connection.execute(
        "SELECT id FROM bases WHERE owner_id = %(user)s UNION SELECT base_id FROM members WHERE user_id = %(user)s",
        {"user": user.id},
    ).fetchall()
    return [row["id"] for row in rows]
