"""The worker's end of a terminal: two threads between a shell in a service and what a page reads and sends."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections import deque
from typing import Any, cast

import redis
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections

from portal.core import places
from portal.runtime.errors import StackRuntimeError
from portal.runtime.protocol import Terminal
from portal.terminal import wire
from portal.terminal.models import End, TerminalSession
from portal.terminal.services import policy_get, restoring, session_ended

log = logging.getLogger(__name__)

ROWS, COLUMNS = 24, 80
# How far a page may be behind before the shell has to wait, and how much of what it has shown a page that is loaded
# anew gets again.
UNSEEN_BYTES = 256 * 1024
KEPT_BYTES = 128 * 1024
# What may wait to be typed into something that does not read.
WAITING_BYTES = 1024 * 1024
LOOK_SECONDS = 1.0
RIGHTS_SECONDS = 5.0

_open: set[Serving] = set()


def serve(session_id: str) -> None:
    """Serve a session from a thread of its own, which the shell does not outlive."""
    session = TerminalSession.objects.select_related("stack", "user").get(pk=uuid.UUID(session_id))
    if session.ended_at is None:
        threading.Thread(target=Serving(session).run, name=f"terminal-{session.pk}").start()


def end_all(reason: End) -> None:
    """End every terminal of this process within a moment. It takes no lock: a signal may call it."""
    for serving in list(_open):
        serving.reason = serving.reason or reason


class Outlet:
    """What the shell writes, on its way to the page: not further ahead than a page can be expected to show."""

    def __init__(self, queue: redis.Redis, session: uuid.UUID) -> None:
        self._queue, self._session, self._key = queue, session, wire.output(session)
        self._sent: deque[tuple[wire.Id, int]] = deque()
        self._seen: wire.Id = (0, 0)
        self._shown = threading.Condition()
        self.unseen = 0

    def put(self, data: bytes) -> None:
        entry = cast(bytes, self._queue.xadd(self._key, {"data": wire.sealed(self._session, data)})).decode()
        with self._shown:
            self._sent.append((wire.parsed(entry), len(data)))
            self.unseen += len(data)

    def seen(self, entry: wire.Id) -> None:
        """The page has shown everything up to this entry."""
        with self._shown:
            self.unseen -= sum(size for at, size in self._sent if self._seen < at <= entry)
            self._seen = max(self._seen, entry)
            kept = sum(size for _, size in self._sent)
            while self._sent and self._sent[0][0] <= self._seen and kept - self._sent[0][1] >= KEPT_BYTES:
                kept -= self._sent.popleft()[1]
            oldest = self._sent[0][0] if self._sent else None
            self._shown.notify()
        if oldest:
            self._queue.xtrim(self._key, minid=f"{oldest[0]}-{oldest[1]}", approximate=False)

    def has_room(self, seconds: float) -> bool:
        """Whether more may be put, waiting for that so long."""
        with self._shown:
            return self._shown.wait_for(lambda: self.unseen < UNSEEN_BYTES, timeout=seconds)

    def close(self, reason: str, detail: str) -> None:
        self._queue.xadd(self._key, {"end": json.dumps({"reason": reason, "detail": detail})})
        self._queue.expire(self._key, wire.PARTING_SECONDS)


class Serving:
    """One open terminal. `reason` is why it is to end, empty as long as it goes on."""

    def __init__(self, session: TerminalSession) -> None:
        self.session, self.reason, self.detail = session, "", ""
        # A wait of its own for every answer: the shared client would give up too soon.
        self._queue = redis.Redis.from_url(settings.VALKEY_URL, socket_timeout=30, socket_connect_timeout=5)
        self._outlet = Outlet(self._queue, session.pk)
        self._waiting = bytearray()
        now = time.monotonic()
        self._typed_at = self._read_at = now
        self._looked_at = self._rights_at = 0.0

    def run(self) -> None:
        """Open the shell, serve it to its end, and leave nothing of it."""
        _open.add(self)
        terminal: Terminal | None = None
        try:
            self._look()
            if not self.reason:
                terminal = self._opened()
                self._serve(terminal)
        except StackRuntimeError as fault:
            self._give_up(End.FAILED, f"{fault.message}: {fault.remedy}")
        except redis.RedisError as error:
            log.warning("terminal %s lost its queue: %s", self.session.pk, error)
            self._give_up(End.LOST)
        except Exception:
            log.exception("terminal %s broke", self.session.pk)
            self._give_up(End.LOST)
        finally:
            self._leave(terminal)

    def _opened(self) -> Terminal:
        spec = places.stack_spec(self.session.stack.name)
        return places.runtime().terminal(spec, self.session.service, mark=self.session.mark, rows=ROWS, columns=COLUMNS)

    def _serve(self, terminal: Terminal) -> None:
        pump = threading.Thread(target=self._pump, args=[terminal], name=f"terminal-output-{self.session.pk}")
        pump.start()
        try:
            while not self.reason:
                self._look()
                self._step(terminal)
        finally:
            self.reason = self.reason or End.LOST
            pump.join()

    def _pump(self, terminal: Terminal) -> None:
        """Bring what is written to the page, until the end of it or of the session."""
        try:
            while not self.reason:
                if not self._outlet.has_room(LOOK_SECONDS / 2):
                    continue
                data = terminal.read(LOOK_SECONDS / 2)
                if data:
                    self._outlet.put(data)
                elif data is not None:
                    wire.end(self.session.pk, End.EXIT)
                    return
        except redis.RedisError as error:
            log.warning("terminal %s lost its queue: %s", self.session.pk, error)
            self._give_up(End.LOST)

    def _step(self, terminal: Terminal) -> None:
        """Take one item from the page, or type what still waits."""
        full = len(self._waiting) >= WAITING_BYTES
        keys = [wire.ends(self.session.pk), *([] if full else [wire.typed(self.session.pk)])]
        patience = 0.02 if self._waiting else LOOK_SECONDS
        found = cast("tuple[bytes, bytes] | None", self._queue.blpop(keys, timeout=patience))
        if found and found[0].decode() == keys[0]:
            self.reason = self.reason or found[1].decode()
        elif found:
            self._take(json.loads(wire.unsealed(self.session.pk, found[1])), terminal)
        if self._waiting:
            del self._waiting[: terminal.write(bytes(self._waiting[:4096]))]

    def _take(self, item: dict[str, Any], terminal: Terminal) -> None:
        if text := item.get("text"):
            self._waiting += text.encode("utf-8", "replace")
            self._typed_at = time.monotonic()
        if size := item.get("size"):
            terminal.resize(*size)
        if seen := item.get("seen"):
            self._outlet.seen(wire.parsed(seen))

    def _look(self) -> None:
        """Say that this end lives, and find out whether the session is to go on."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        self._queue.set(wire.alive(self.session.pk), 1, ex=wire.ALIVE_SECONDS)
        if self._queue.exists(wire.reader(self.session.pk)):
            self._read_at = now
        elif now - self._read_at > wire.READER_SECONDS:
            self._give_up(End.AWAY)
        if now - self._rights_at >= RIGHTS_SECONDS:
            self._rights_at = now
            self._look_at_rights(now)

    def _look_at_rights(self, now: float) -> None:
        close_old_connections()
        try:
            self.session.refresh_from_db()
            policy, user = policy_get(), self.session.user
            if self.session.ended_at or not policy.enabled:
                self._give_up(End.SWITCHED_OFF)
            elif user is None or not (user.is_active and user.is_staff):
                self._give_up(End.ACCOUNT)
            elif restoring(self.session.stack):
                self._give_up(End.RESTORE)
            elif now - self._typed_at > policy.idle_minutes * 60:
                self._give_up(End.IDLE)
        except DatabaseError as error:
            # A restart of the portal's database is no reason to end; the next look is soon.
            log.warning("terminal %s could not look at its rights: %s", self.session.pk, error)

    def _give_up(self, reason: End, detail: str = "") -> None:
        self.reason, self.detail = self.reason or reason, self.detail or detail

    def _leave(self, terminal: Terminal | None) -> None:
        """End the shell, then tell the page and the record."""
        try:
            if terminal is not None:
                terminal.close()
            session_ended(self.session, self.reason, self.detail)
            self._outlet.close(self.reason, self.detail)
            self._queue.delete(*(key(self.session.pk) for key in (wire.alive, wire.typed, wire.ends, wire.reader)))
        except (redis.RedisError, DatabaseError) as error:
            log.warning("the end of terminal %s could not be told: %s", self.session.pk, error)
        finally:
            _open.discard(self)
            self._queue.close()
            connections.close_all()
