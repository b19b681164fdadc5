"""Accounts, their passwords and API keys."""

from __future__ import annotations

from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from rag_api.access import User
from rag_api.db import Connection, Row
from rag_api.errors import ApiError, not_found
from rag_api.services import Services
from rag_api.sessions import hash_token, new_api_key, note_failure, refuse_too_many_failures

MIN_PASSWORD = 12
BOOTSTRAP_LOCK = "ragkeep-bootstrap-admin"

# argon2id with the library's defaults: 64 MiB, three passes.
_hasher = PasswordHasher()
# Verified when the account is unknown, so that the time of an answer does not tell who has an account.
_nobody = _hasher.hash("nobody has this password")


def sign_in(services: Services, *, email: str, password: str, address: str) -> User:
    """Check a password.

    Raises:
        ApiError: 401 wrong e-mail or password or a disabled account (all alike), 429 too many failures.
    """
    email = email.strip().lower()
    refuse_too_many_failures(services, email, address)
    with services.pool.connection() as connection:
        row = connection.execute("SELECT * FROM users WHERE email = %s", (email,)).fetchone()
    # Outside the connection: hashing takes tens of milliseconds.
    right = _verify(row["password_hash"] if row else _nobody, password)
    if row is None or not right or not row["active"]:
        note_failure(services, email, address)
        raise ApiError(401, "wrong_credentials", "The e-mail address or the password is wrong; check both.")
    return User(row["id"], row["email"], row["name"], row["is_admin"])


def user_create(connection: Connection, *, email: str, name: str, password: str, is_admin: bool = False) -> Row:
    """Create an account and its personal knowledge base.

    Raises:
        ApiError: 400 not an e-mail address or a short password, 409 the address is taken.
    """
    email = email.strip().lower()
    if "@" not in email.strip("@") or len(email) > 254 or any(c.isspace() for c in email):
        raise ApiError(400, "bad_email", "This is not an e-mail address; write it as name@domain.")
    row = connection.execute(
        "INSERT INTO users (email, name, password_hash, is_admin) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (email) DO NOTHING RETURNING id, email, name, is_admin, active, created_at",
        (email, name.strip() or email.split("@")[0], _checked_hash(password), is_admin),
    ).fetchone()
    if row is None:
        raise ApiError(409, "email_taken", "There is an account with this e-mail address already; use another one.")
    connection.execute("INSERT INTO bases (name, owner_id, personal) VALUES ('Personal', %s, true)", (row["id"],))
    return row


def user_update(
    connection: Connection, actor: User, user_id: UUID, *, active: bool | None, password: str | None, name: str | None
) -> Row:
    """Change what is given; a disabled account's sessions and keys stop working with the next request.

    Raises:
        ApiError: 404 no such account, 409 an administrator disabling their own, 400 a short password.
    """
    if user_id == actor.id and active is False:
        raise ApiError(409, "own_account", "You cannot disable your own account; ask another administrator.")
    row = connection.execute(
        "UPDATE users SET active = coalesce(%s, active), name = coalesce(%s, name),"
        " password_hash = coalesce(%s, password_hash) WHERE id = %s"
        " RETURNING id, email, name, is_admin, active, created_at",
        (active, name, None if password is None else _checked_hash(password), user_id),
    ).fetchone()
    if row is None:
        raise not_found("account")
    return row


def user_list(connection: Connection) -> list[Row]:
    """Every account, the oldest first."""
    return connection.execute(
        "SELECT id, email, name, is_admin, active, created_at FROM users ORDER BY created_at, id"
    ).fetchall()


def bootstrap_admin(services: Services) -> bool:
    """Create the administrator of the settings unless that account exists; returns whether it was created."""
    settings = services.settings
    with services.pool.connection() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (BOOTSTRAP_LOCK,))
        if connection.execute("SELECT 1 FROM users WHERE email = %s", (settings.admin_email,)).fetchone():
            return False
        user_create(
            connection,
            email=settings.admin_email,
            name="Administrator",
            password=settings.admin_password.reveal(),
            is_admin=True,
        )
        return True


def key_create(connection: Connection, user: User, name: str) -> tuple[Row, str]:
    """Make an API key; the key itself is returned this once and stored as a hash."""
    key = new_api_key()
    row = connection.execute(
        "INSERT INTO api_keys (user_id, name, prefix, key_hash) VALUES (%s, %s, %s, %s)"
        " RETURNING id, name, prefix, created_at, last_used_at",
        (user.id, name.strip() or "API key", key[:10], hash_token(key)),
    ).fetchone()
    assert row is not None
    return row, key


def key_list(connection: Connection, user: User) -> list[Row]:
    return connection.execute(
        "SELECT id, name, prefix, created_at, last_used_at FROM api_keys"
        " WHERE user_id = %s AND revoked_at IS NULL ORDER BY created_at",
        (user.id,),
    ).fetchall()


def key_revoke(connection: Connection, user: User, key_id: UUID) -> None:
    """Revoke one of the user's own keys; raises ApiError 404 when there is none."""
    changed = connection.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE id = %s AND user_id = %s AND revoked_at IS NULL",
        (key_id, user.id),
    )
    if changed.rowcount != 1:
        raise not_found("API key")


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _checked_hash(password: str) -> str:
    if len(password) < MIN_PASSWORD or len(password) > 1024:
        raise ApiError(400, "weak_password", f"The password must have at least {MIN_PASSWORD} characters.")
    return _hasher.hash(password)
