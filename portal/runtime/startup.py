"""Starts services in the order of their dependencies, as many at once as these allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from portal.runtime.errors import ServiceFailedError
from portal.runtime.protocol import Report, ServiceStatus, State
from portal.runtime.spec import ServiceSpec

PAUSE_SECONDS = 0.1


class Startup:
    """One start of several services.

    Args:
        services: all of them that run here, in the order of the stack file.
        start: has services started without waiting; what they need is healthy.
        check: the condition of services now.
        log: the last lines of a service's log.
        report: told about each change of a state.
        clock, sleep: time, replaced in tests.
    """

    def __init__(
        self,
        services: Mapping[str, ServiceSpec],
        *,
        start: Callable[[list[str]], None],
        check: Callable[[list[str]], Iterable[ServiceStatus]],
        log: Callable[[str], list[str]],
        report: Report | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._services = services
        self._start, self._check, self._log = start, check, log
        self._report = report
        self._clock, self._sleep = clock, sleep
        self._started: dict[str, float] = {}
        self._seen: dict[str, State] = {}

    def run(self, to_start: Collection[str], to_await: Collection[str], timeout: float) -> None:
        """Start `to_start` and wait until these and `to_await` are healthy.

        Raises:
            ServiceFailedError: one did not become healthy in its time, at most `timeout` seconds, or gave up.
        """
        waiting = [name for name in self._services if name in to_start]
        pending = {name for name in self._services if name in to_start or name in to_await}
        self._started = {name: self._clock() for name in pending if name not in waiting}
        while pending:
            waiting = self._start_ready(waiting, pending)
            for status in self._check([name for name in pending if name in self._started]):
                if self._settled(status, timeout):
                    pending.discard(status.service)
            if pending:
                self._sleep(PAUSE_SECONDS)

    def _start_ready(self, waiting: list[str], pending: set[str]) -> list[str]:
        ready = [name for name in waiting if not pending.intersection(self._services[name].depends_on)]
        if ready:
            self._start(ready)
            self._started.update(dict.fromkeys(ready, self._clock()))
        return [name for name in waiting if name not in ready]

    def _settled(self, status: ServiceStatus, timeout: float) -> bool:
        if self._seen.get(status.service) is not status.state and self._report is not None:
            self._report(status)
        self._seen[status.service] = status.state
        if status.state is State.HEALTHY:
            return True
        patience = min(self._services[status.service].ready.seconds, timeout)
        if status.state is State.FAILED:
            raise self._failure(status, "gave up starting")
        if self._clock() - self._started[status.service] > patience:
            raise self._failure(status, f"did not become healthy within {patience:g} s")
        return False

    def _failure(self, status: ServiceStatus, reason: str) -> ServiceFailedError:
        detail = f" ({status.detail})" if status.detail else ""
        return ServiceFailedError(status.service, reason + detail, self._log(status.service))
