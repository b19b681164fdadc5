"""New containers beside the old ones: the old serve until the new have proven themselves, and end when they are done.

Each step is on record before it is taken, so that whoever comes after a killed deploy knows which of them have to go.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from portal.runtime.compose import argv, mending, record
from portal.runtime.compose.balancer import balancers, serving
from portal.runtime.compose.containers import Container
from portal.runtime.compose.fleet import Fleet
from portal.runtime.compose.project import View
from portal.runtime.compose.record import Deployed, Replacing
from portal.runtime.compose.render import DEFAULT_SHARES
from portal.runtime.compose.scaling import obstacle
from portal.runtime.errors import ComposeFailedError
from portal.runtime.spec import ServiceSpec

# What nginx took before it had its new list is on its way to the old ones after this.
SETTLE_SECONDS = 1.0
# Longer than any answer: how long the old ones may finish what they have begun.
DRAIN_SECONDS = 900.0
ASK_SECONDS = 10.0
PAUSE_SECONDS = 0.5
# The weight, of Docker's 1024, of one that is still starting: a start takes all it gets, and people are being served.
STARTING_SHARES = 128


class Replacements:
    """All replacements of one deployment."""

    def __init__(self, fleet: Fleet, view: View, services: Mapping[str, ServiceSpec]) -> None:
        self._fleet, self._view, self._services = fleet, view, services
        self._balancers = balancers(fleet, view.folder, services)
        self._old: dict[str, tuple[str, ...]] = {}
        self._drains: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(thread_name_prefix="drain")

    def is_balanced(self, name: str) -> bool:
        """Whether requests are spread over the instances of a service."""
        return any(name in balancer.service.balances for balancer in self._balancers)

    def is_possible(self, name: str, config: Mapping[str, Any]) -> bool:
        """Whether a service can have new containers beside the old ones, and has something to lose otherwise."""
        wanted = self._services[name]
        if not wanted.start_first or obstacle(wanted, config):
            return False
        return any(one.phase == "running" and one.health in ("", "healthy") for one in self._fleet.containers([name]))

    def begin(self, names: Collection[str]) -> dict[str, int]:
        """Put on record which containers these services have; returns how many."""
        found = self._fleet.containers(names)
        fresh = {name: tuple(one.id for one in found if one.service == name) for name in names}
        self._old |= fresh
        self._save(self._record.beside({name: Replacing(old) for name, old in fresh.items()}))
        return {name: len(old) for name, old in fresh.items()}

    def is_open(self, name: str) -> bool:
        """Whether a service has new containers that have not proven themselves yet."""
        return name in self._old and name not in self._drains

    def old(self, name: str) -> Collection[str]:
        """The ids of the containers that are being replaced."""
        return self._old.get(name, ())

    def hold_back(self, names: Collection[str]) -> None:
        """Have the new containers of these services stand back for a processor until they are healthy."""
        for name in names:
            self._share(name, STARTING_SHARES)

    def passed(self, name: str, config: Mapping[str, Any]) -> None:
        """The new containers are healthy: requests go to them from now on, and the old ones end in their own time."""
        self._share(name, int(config.get("cpu_shares") or DEFAULT_SHARES))
        self._save(self._record.beside({name: Replacing(self._old[name], passed=True)}))
        self.balance()
        gone = [one for one in self._fleet.containers([name]) if one.id in self._old[name]]
        self._drains[name] = self._pool.submit(self.retire, name, gone)

    def _share(self, name: str, shares: int) -> None:
        fresh = [one.id for one in self._fleet.containers([name]) if one.id not in self._old[name] and one.is_up]
        if fresh:
            self._fleet.docker.run(argv.share(fresh, shares))

    def undo(self) -> None:
        """Remove the new containers that have not proven themselves; the old ones were never touched."""
        open_ones = set(self._old) - set(self._drains)
        found = self._fleet.containers(open_ones)
        self._fleet.discard([one for one in found if one.id not in self._old[one.service]])
        self._save(self._record.replaced(open_ones))

    def finish(self) -> None:
        """Wait until the old containers have ended.

        Raises:
            StackRuntimeError: one could not be stopped or removed.
        """
        for drain in self._drains.values():
            drain.result()
        self._save(self._record.replaced(set(self._drains)))

    def mend(self) -> None:
        """Finish or undo what somebody who was killed had begun."""
        replacing = self._record.replacing
        if not replacing:
            return
        going = mending.leaving(self._fleet.containers(replacing), replacing)
        self.balance()
        for name in replacing:
            if name in self._services:
                self.retire(name, [one for one in going if one.service == name])
        self._save(self._record.replaced(set(replacing)))

    def balance(self, without: Collection[Container] = ()) -> None:
        """Have requests go to whoever serves; to none of those that have to go, nor to those `without`."""
        if not self._balancers:
            return
        replacing = self._record.replacing
        going = mending.leaving(self._fleet.containers(replacing), replacing) if replacing else []
        for balancer in self._balancers:
            balancer.update({one.id for one in (*going, *without)})

    def retire(self, name: str, containers: Collection[Container]) -> None:
        """End containers that get no new requests: when they have nothing to do any more, or it takes too long."""
        if not containers:
            return
        up = [one for one in containers if one.is_up]
        if serving(up):
            time.sleep(SETTLE_SECONDS)
            self._await_idle(self._services[name], up)
        if up:
            self._fleet.docker.run(argv.stop([one.id for one in up]))
        self._fleet.discard(containers)

    def _await_idle(self, service: ServiceSpec, containers: Collection[Container]) -> None:
        end = time.monotonic() + DRAIN_SECONDS
        while service.idle and time.monotonic() < end:
            if all(self._is_idle(one, service) for one in containers):
                return
            time.sleep(PAUSE_SECONDS)

    def _is_idle(self, container: Container, service: ServiceSpec) -> bool:
        try:
            words = argv.execute(container.id, service.idle)
            if self._fleet.docker.run(words, timeout=ASK_SECONDS, check=False).returncode == 0:
                return True
        except ComposeFailedError:
            return False
        # One that has ended cannot be asked, and has nothing to do.
        return not any(one.id == container.id and one.is_up for one in self._fleet.containers([service.name]))

    @property
    def _record(self) -> Deployed:
        return record.load(self._view.record)

    def _save(self, fresh: Deployed) -> None:
        record.save(self._view.record, fresh)
