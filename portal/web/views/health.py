"""Whether the portal can do its work, for whoever supervises it: no sign-in, no names, no versions."""

from __future__ import annotations

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

# The one who asks gives up after two seconds.
PATIENCE_SECONDS = 1.0
OK, SILENT = "ok", "does not answer"


def health(request: HttpRequest) -> JsonResponse:
    """200 when the database and the event channel answer, else 503; the body says which of them does not."""
    found = {"database": _database(), "valkey": _valkey()}
    return JsonResponse(found, status=200 if set(found.values()) == {OK} else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return SILENT
    return OK


def _valkey() -> str:
    try:
        with redis.Redis.from_url(
            settings.VALKEY_URL, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS
        ) as client:
            client.ping()
    except (redis.RedisError, ValueError):
        return SILENT
    return OK
