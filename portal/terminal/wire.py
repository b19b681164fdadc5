"""What goes between a page and the worker's end of a terminal, in Valkey: nothing of it is kept longer than a session.

Output is a stream, so that a page which lost its connection asks for what came after the last it has. What is typed,
and what the page has shown, is a list. A second list tells a session to end, and is read first.

Valkey writes what passes through it to its disk. So what was typed and shown is sealed, with a key of each session that
only the portal's own processes can make.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from functools import cache
from typing import Any, cast

import redis
from django.conf import settings

from portal.core import cipher

Id = tuple[int, int]
NOTHING = "0-0"
# What the worker renews while it serves a terminal, and pages while they read it.
ALIVE_SECONDS = 15
READER_SECONDS = 20
# A page may learn for so long why a session ended.
PARTING_SECONDS = 60
# Keys pressed that nobody has fetched: more than anybody types, or a paste into what does not read.
MOST_WAITING = 1000
TIMEOUT_SECONDS = 5


class Full(Exception):  # noqa: N818 - a state, not a fault
    """So much waits to be typed that no more is taken."""


def output(session: uuid.UUID) -> str:
    return f"ragkeep:terminal:{session}:output"


def typed(session: uuid.UUID) -> str:
    return f"ragkeep:terminal:{session}:typed"


def ends(session: uuid.UUID) -> str:
    return f"ragkeep:terminal:{session}:ends"


def alive(session: uuid.UUID) -> str:
    return f"ragkeep:terminal:{session}:alive"


def reader(session: uuid.UUID) -> str:
    return f"ragkeep:terminal:{session}:reader"


def parsed(entry: str) -> Id:
    """The id of an entry of a stream as what can be compared.

    Raises:
        ValueError: it is none.
    """
    first, _, second = entry.partition("-")
    return int(first), int(second)


@cache
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)


def client() -> redis.Redis:
    """A connection to the portal's queue, for calls that answer at once; shared by threads."""
    return _client(settings.VALKEY_URL)


def sealed(session: uuid.UUID, data: bytes) -> bytes:
    """What was typed or shown in a session, as it may lie about."""
    return cipher.encrypt(_key(session), data, session.bytes)


def unsealed(session: uuid.UUID, data: bytes) -> bytes:
    """What `sealed` sealed.

    Raises:
        SealBroken: it is not of this session, or of another installation.
    """
    return cipher.decrypt(_key(session), data, session.bytes)


def _key(session: uuid.UUID) -> bytes:
    return hmac.digest(settings.SECRET_KEY.encode(), b"terminal " + session.bytes, hashlib.sha256)


def send(session: uuid.UUID, item: dict[str, Any]) -> None:
    """Bring keys, a size or what was shown to the worker.

    Raises:
        Full: the worker has not fetched what was sent before.
        RedisError: the queue does not answer.
    """
    if cast(int, client().llen(typed(session))) >= MOST_WAITING:
        raise Full
    pipe = client().pipeline(transaction=False)
    pipe.rpush(typed(session), sealed(session, json.dumps(item).encode()))
    pipe.expire(typed(session), PARTING_SECONDS)
    pipe.execute()


def end(session: uuid.UUID, reason: str) -> None:
    """Tell the worker to end a session.

    Raises:
        RedisError: the queue does not answer.
    """
    pipe = client().pipeline(transaction=False)
    pipe.rpush(ends(session), reason)
    pipe.expire(ends(session), PARTING_SECONDS)
    pipe.execute()
