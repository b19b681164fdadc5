"""One deployment of a stack: from what runs to what is to run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from portal.runtime.compose import argv, images, mending, occupied, record
from portal.runtime.compose.client import Docker
from portal.runtime.compose.comparison import plan as compare
from portal.runtime.compose.containers import Container, by_service
from portal.runtime.compose.fleet import Fleet
from portal.runtime.compose.project import View
from portal.runtime.compose.publishing import published
from portal.runtime.compose.render import replicas
from portal.runtime.compose.rendering import Rendering, install
from portal.runtime.errors import ComposeFailedError, PortTakenError, ServiceFailedError, StackRuntimeError
from portal.runtime.protocol import Action, Plan, Report, ServiceStatus
from portal.runtime.spec import closure
from portal.runtime.startup import Startup

FAILURE_LOG_LINES = 15
BEGINNINGS = (Action.CREATE, Action.START, Action.RECREATE)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A rendered stack and the containers it has by now."""

    docker: Docker
    view: View
    rendered: Rendering

    @property
    def fleet(self) -> Fleet:
        return Fleet(self.docker, self.view.spec.project)

    def plan(self, anew: Collection[str] = ()) -> Plan:
        """What becomes of each service, and why; `anew` ones are replaced as they are."""
        found = self.fleet.containers()
        unfinished = mending.surplus(found)
        running = by_service([container for container in found if container not in unfinished])
        return compare(self.rendered.wanted, running, record.load(self.view.record), anew)

    def taken(self, names: Collection[str]) -> dict[int, str]:
        """Ports these services publish that somebody else holds: port -> a few words about who."""
        wanted = {port for name in names for port in published(self.rendered.wanted[name].config).values()}
        return occupied.taken(self.docker.engine, self.view.spec.project, wanted)

    def provide(self, names: Collection[str], report: Report | None) -> None:
        """Have the images of these services here."""
        images.provide(self.docker, self.view, self.rendered, names, report)

    def run(self, plan: Plan, services: Collection[str] | None, report: Report | None, timeout: float) -> None:
        """Do what the plan says to these services (None: all) and what they need; see `Runtime.apply`."""
        known = self.rendered.scope.services
        scope = closure(known, list(known) if services is None else services)
        begin = [name for name in scope if plan.action(name) in BEGINNINGS]
        if taken := self.taken(begin):
            raise PortTakenError(taken)
        self.provide(begin, report)
        self._mend()
        self._discard([change.service for change in plan.changes if change.action is Action.REMOVE])
        self._shed([name for name in scope if plan.action(name) is Action.SCALE])
        install(self.view, self.rendered)
        self._remember([change.service for change in plan.changes if change.action is Action.KEEP])
        self._startup(plan, report).run(begin, scope, timeout)

    def _mend(self) -> None:
        """Finish or undo what a killed Compose left half done."""
        found = self.fleet.containers()
        unfinished = mending.surplus(found)
        self.fleet.discard(unfinished)
        for container, name in mending.names([one for one in found if one not in unfinished]).items():
            self.docker.run(argv.rename(container, name))

    def _discard(self, names: Collection[str]) -> None:
        """Remove the containers of services that are no part of the stack any more."""
        if not names:
            return
        self.fleet.halt(names)
        self.fleet.discard(self.fleet.containers(names))
        record.save(self.view.record, record.load(self.view.record).without(set(names)))

    def _shed(self, names: Collection[str]) -> None:
        """Remove the containers that a service has too many of: first those that are not well, then the latest."""
        for name in names:
            found = sorted(self.fleet.containers([name]), key=_worth, reverse=True)
            surplus = found[replicas(self.rendered.wanted[name].config) :]
            self.docker.run(argv.stop([container.id for container in surplus]))
            self.fleet.discard(surplus)

    def _startup(self, plan: Plan, report: Report | None) -> Startup:
        known, once = self.rendered.scope.services, self.rendered.scope.once

        def start(names: Collection[str]) -> None:
            for again in (False, True):
                group = [name for name in names if (plan.action(name) is Action.RECREATE) is again]
                if group:
                    self._up(group, recreate=again)

        def check(names: Collection[str]) -> list[ServiceStatus]:
            return self.fleet.statuses({name: known[name].title for name in names}, once=once)

        return Startup(
            known,
            start=start,
            check=check,
            log=lambda name: self.fleet.tail(name, FAILURE_LOG_LINES),
            report=report,
        )

    def _up(self, names: Collection[str], *, recreate: bool) -> None:
        before = {container.id for container in self.fleet.containers(names)}
        try:
            self.docker.run(argv.up(self.view.spec.project, self.view.file, names, recreate=recreate))
        except ComposeFailedError as error:
            raise self._blame(names, error) from None
        finally:
            now = {container.service for container in self.fleet.containers(names) if container.id in before}
            self._remember([name for name in names if not (recreate and name in now)])

    def _remember(self, names: Collection[str]) -> None:
        """Keep what these services were started with, as far as they have containers."""
        found, wanted = by_service(self.fleet.containers(names)), self.rendered.wanted
        fresh = {name: wanted[name].kept(containers[0].config_hash) for name, containers in found.items()}
        record.save(self.view.record, record.load(self.view.record).started(fresh))

    def _blame(self, names: Collection[str], error: ComposeFailedError) -> StackRuntimeError:
        """Whose fault it was that Compose failed, as far as the containers tell."""
        for container in self.fleet.containers(names):
            if container.error:
                log = self.fleet.tail(container.service, FAILURE_LOG_LINES)
                return ServiceFailedError(container.service, f"could not be started ({container.error})", log)
        return error


def _worth(container: Container) -> tuple[bool, bool, int]:
    return container.is_up, container.health in ("", "healthy"), -int(container.number)
