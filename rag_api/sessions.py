"""Sessions in Redis, API keys in Postgres, both random and stored only as hashes; and the sign-in's rate limit.

A restore flushes Redis, which ends every session: nobody is signed in by an old set.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

from rag_api.access import User
from rag_api.errors import ApiError
from rag_api.services import Services

SESSION_HOURS = 12
SESSION_PREFIX = "rks_"
KEY_PREFIX = "rkk_"
FAILURES_PER_ACCOUNT = 10
# The chat signs everybody in from one address, so an address is allowed more.
FAILURES_PER_ADDRESS = 100
FAILURE_WINDOW = 300


def hash_token(token: str) -> bytes:
    """SHA-256 of a token; enough for 256 random bits, where a slow hash is for passwords that people choose."""
    return hashlib.sha256(token.encode()).digest()


def session_start(services: Services, user_id: UUID) -> tuple[str, datetime]:
    """Open a session and return its token, which is shown this once, and when it ends."""
    token = SESSION_PREFIX + secrets.token_urlsafe(32)
    lifetime = timedelta(hours=SESSION_HOURS)
    services.redis.set(_session_key(token), str(user_id), ex=lifetime)
    return token, datetime.now(UTC) + lifetime


def session_end(services: Services, token: str) -> None:
    """End the session of this token; an unknown one is no error."""
    services.redis.delete(_session_key(token))


def new_api_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def user_of_token(services: Services, token: str) -> User:
    """The account that a session token or an API key speaks for; its status is read anew each time.

    Raises:
        ApiError: 401, unknown, expired or revoked, or the account was switched off.
    """
    if token.startswith(SESSION_PREFIX):
        user = _session_user(services, token)
    elif token.startswith(KEY_PREFIX):
        user = _key_user(services, token)
    else:
        user = None
    if user is None:
        raise ApiError(401, "unauthenticated", "This session or API key is not valid (any more); sign in again.")
    return user


def refuse_too_many_failures(services: Services, email: str, address: str) -> None:
    """Raise ApiError 429 when this account or this address failed to sign in too often lately."""
    counts = services.redis.mget(_failure_key("account", email), _failure_key("address", address))
    assert isinstance(counts, list)
    limits = (FAILURES_PER_ACCOUNT, FAILURES_PER_ADDRESS)
    if any(int(count or 0) >= limit for count, limit in zip(counts, limits, strict=True)):
        raise ApiError(
            429, "too_many_attempts", f"Too many failed sign-ins; wait {FAILURE_WINDOW // 60} minutes and try again."
        )


def note_failure(services: Services, email: str, address: str) -> None:
    """Count a failed sign-in; the count forgets after FAILURE_WINDOW seconds."""
    with services.redis.pipeline() as pipe:
        for key in (_failure_key("account", email), _failure_key("address", address)):
            pipe.incr(key)
            pipe.expire(key, FAILURE_WINDOW, nx=True)
        pipe.execute()


def _failure_key(kind: str, value: str) -> str:
    return f"signin:{kind}:{hashlib.sha256(value.encode()).hexdigest()}"


def _session_key(token: str) -> str:
    return f"session:{hash_token(token).hex()}"


def _session_user(services: Services, token: str) -> User | None:
    found = services.redis.get(_session_key(token))
    if found is None:
        return None
    assert isinstance(found, bytes)
    with services.pool.connection() as connection:
        row = connection.execute(
            "SELECT id, email, name, is_admin FROM users WHERE id = %s AND active", (UUID(found.decode()),)
        ).fetchone()
    return User(**row) if row else None


def _key_user(services: Services, token: str) -> User | None:
    with services.pool.connection() as connection:
        row = connection.execute(
            "SELECT u.id, u.email, u.name, u.is_admin, k.id AS key_id,"
            " k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute' AS stale"
            " FROM api_keys k JOIN users u ON u.id = k.user_id"
            " WHERE k.key_hash = %s AND k.revoked_at IS NULL AND u.active",
            (hash_token(token),),
        ).fetchone()
        if row is None:
            return None
        if row["stale"]:
            connection.execute("UPDATE api_keys SET last_used_at = now() WHERE id = %s", (row["key_id"],))
    return User(row["id"], row["email"], row["name"], row["is_admin"])
