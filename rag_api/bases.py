"""Knowledge bases and their members."""

from __future__ import annotations

from uuid import UUID

from rag_api.access import Need, User, authorise
from rag_api.db import Connection, Row
from rag_api.errors import ApiError, not_found


def base_list(connection: Connection, user: User) -> list[Row]:
    """The bases the user owns or is a member of, with the role in each and how many documents they hold."""
    return connection.execute(
        "SELECT b.id, b.name, b.owner_id, u.email AS owner, b.personal, b.created_at,"
        " CASE WHEN b.owner_id = %(user)s THEN 'owner' ELSE m.role END AS role,"
        " (SELECT count(*) FROM documents d WHERE d.base_id = b.id AND d.state <> 'deleting') AS documents"
        " FROM bases b JOIN users u ON u.id = b.owner_id"
        " LEFT JOIN members m ON m.base_id = b.id AND m.user_id = %(user)s"
        " WHERE b.owner_id = %(user)s OR m.role IS NOT NULL ORDER BY b.personal DESC, b.name, b.id",
        {"user": user.id},
    ).fetchall()


def base_create(connection: Connection, user: User, name: str) -> Row:
    """Create a base owned by the user; raises ApiError 400 for an empty name."""
    if not name.strip() or len(name) > 200:
        raise ApiError(400, "bad_name", "A knowledge base needs a name of 1 to 200 characters.")
    row = connection.execute(
        "INSERT INTO bases (name, owner_id) VALUES (%s, %s) RETURNING id", (name.strip(), user.id)
    ).fetchone()
    assert row is not None
    return next(base for base in base_list(connection, user) if base["id"] == row["id"])


def member_list(connection: Connection, user: User, base_id: UUID) -> list[Row]:
    """The members of a base, for anyone who may read it."""
    authorise(connection, user, Need.READ, base_id)
    return connection.execute(
        "SELECT m.user_id, u.email, u.name, m.role FROM members m JOIN users u ON u.id = m.user_id"
        " WHERE m.base_id = %s ORDER BY u.email",
        (base_id,),
    ).fetchall()


def member_set(connection: Connection, user: User, base_id: UUID, member_id: UUID, role: str) -> None:
    """Give an account a role in a base.

    Raises:
        ApiError: 403 or 404 unless the user owns the base, 404 no such account, 409 the owner as a member.
    """
    authorise(connection, user, Need.OWN, base_id)
    if member_id == user.id:
        raise ApiError(409, "owner", "The owner of a knowledge base has every right in it already.")
    changed = connection.execute(
        "INSERT INTO members (base_id, user_id, role) SELECT %s, id, %s FROM users WHERE id = %s"
        " ON CONFLICT (base_id, user_id) DO UPDATE SET role = excluded.role",
        (base_id, role, member_id),
    )
    if changed.rowcount != 1:
        raise not_found("account")


def member_remove(connection: Connection, user: User, base_id: UUID, member_id: UUID) -> None:
    """Take an account out of a base: its owner does that, or a member who leaves."""
    authorise(connection, user, Need.READ if member_id == user.id else Need.OWN, base_id)
    changed = connection.execute("DELETE FROM members WHERE base_id = %s AND user_id = %s", (base_id, member_id))
    if changed.rowcount != 1:
        raise not_found("member")
