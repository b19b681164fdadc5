"""Stopping what uses a stack's data and starting exactly that again, across workers' deaths."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import redis
from django.utils import timezone

from backups.secret import Secret
from portal.core import places
from portal.core.deployed import start_deployed
from portal.operations.context import Context
from portal.operations.errors import OperationFailed
from portal.operations.faults import runtime_faults
from portal.runtime.protocol import ServiceStatus, State
from portal.runtime.spec import StackSpec

# What reads or writes a volume, or the database, that a restore exchanges. Postgres itself stays: it renames.
USERS_OF_DATA = ("ingest", "api", "vectordb", "ollama")
FLUSH = 'REDISCLI_AUTH="$(cat /run/secrets/redis_password)" exec redis-cli flushall'


class Halt:
    """The interruption of one stack by one operation. The journal's step `stop` says what was running before.

    `users`: the services that stand still, all users of data by default.
    """

    def __init__(self, ctx: Context, spec: StackSpec, users: Collection[str] = USERS_OF_DATA) -> None:
        self._ctx = ctx
        self.spec = spec
        self._users = users

    def stop(self) -> None:
        """Stop the users of the data; repeated, it stops again whatever of them came up meanwhile."""
        with self._ctx.step("stop", "Stop what uses the data", undoing=self.began) as data, runtime_faults():
            running = self.services if self.began_before else self._running()
            # Written before the first service stops: whoever takes over must know what to start again.
            self._ctx.note("stop", {"services": running})
            data["services"] = running
            places.runtime().stop(self.spec, services=running)

    def start(self) -> None:
        """Start what `stop` stopped and wait until it is healthy; what stood still before stays so."""
        if not self.began:
            return
        services = self.services
        with self._ctx.step("start", "Start and wait until healthy", undoing=True) as data, runtime_faults():
            if services:
                start_deployed(self.spec, services=services, report=self._report)
            data["services"] = services

    def start_anyway(self) -> str:
        """Start what `stop` stopped where what comes back may have been broken before; returns what went wrong."""
        try:
            self.start()
        except OperationFailed as failed:
            self._ctx.log(f"{failed.message} It may have been so before.", level="warning")
            return failed.message
        return ""

    def flush(self) -> None:
        """Forget sessions and caches: they belong to the data that was replaced."""
        with self._ctx.step("flush", "Forget sessions and caches", undoing=True) as data:
            if not self.is_up("redis"):
                data["skipped"] = "it does not run"
            elif places.in_containers():
                self._flush_inside()
            else:
                self._flush_server()

    def _flush_server(self) -> None:
        here = places.location(self.spec)
        password = Secret.from_file(here.secret("redis_password")).reveal()
        try:
            with redis.Redis(port=here.port("redis"), password=password, socket_timeout=10) as client:
                client.flushall()
        except redis.RedisError as error:
            raise OperationFailed(f"Sessions could not be forgotten: {error}.", code="flush_failed") from None

    def _flush_inside(self) -> None:
        """In containers the portal has no way to the server; the server's own client has."""
        with runtime_faults():
            done = places.runtime().exec(self.spec, "redis", ("sh", "-c", FLUSH), timeout=30)
        if done.returncode or done.stdout.strip() != "OK":
            said = (done.stdout + done.stderr).strip()[-200:]
            raise OperationFailed(f"Sessions could not be forgotten: {said}.", code="flush_failed")

    @property
    def began(self) -> bool:
        return self._ctx.began("stop")

    @property
    def began_before(self) -> bool:
        return "services" in self._ctx.recorded("stop")

    @property
    def services(self) -> list[str]:
        """What ran before the stop and has to run again."""
        return list(self._ctx.recorded("stop").get("services", []))

    def downtime_ms(self) -> float | None:
        """Milliseconds from the first stop until now; None when nothing was stopped."""
        first: datetime | None = (
            self._ctx.operation.steps.filter(name="stop").order_by("ordinal").values_list("started_at", flat=True)
        ).first()
        if first is None or not self.services:
            return None
        return round((timezone.now() - first).total_seconds() * 1000, 1)

    def _running(self) -> list[str]:
        statuses = places.runtime().status(self.spec)
        return [s.service for s in statuses if s.service in self._users and s.state is not State.STOPPED]

    def is_up(self, service: str) -> bool:
        """Whether a service of the stack runs now, well or not."""
        statuses = places.runtime().status(self.spec)
        return any(s.service == service and s.state not in (State.STOPPED, State.FAILED) for s in statuses)

    def _report(self, status: ServiceStatus) -> None:
        self._ctx.progress("Start", note=f"{status.title}: {status.state}")
