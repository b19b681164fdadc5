"""One deployment of a stack: from what runs to what is to run."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from portal.runtime.compose import argv, images, mending, occupied, record
from portal.runtime.compose.client import Docker
from portal.runtime.compose.comparison import plan as compare
from portal.runtime.compose.comparison import renewed
from portal.runtime.compose.containers import Container, by_service
from portal.runtime.compose.fleet import Fleet
from portal.runtime.compose.project import View
from portal.runtime.compose.publishing import published
from portal.runtime.compose.render import replicas
from portal.runtime.compose.rendering import Rendering, install
from portal.runtime.compose.replacement import Replacements
from portal.runtime.compose.turns import turn
from portal.runtime.errors import ComposeFailedError, PortTakenError, ServiceFailedError, StackRuntimeError
from portal.runtime.protocol import Action, Plan, Report, ServiceStatus, State
from portal.runtime.spec import closure, layers
from portal.runtime.startup import Startup

FAILURE_LOG_LINES = 15
BEGINNINGS = (Action.CREATE, Action.START, Action.RECREATE)


class Deployment:
    """A rendered stack and the containers it has by now."""

    def __init__(self, docker: Docker, view: View, rendered: Rendering) -> None:
        self.docker, self.view, self.rendered = docker, view, rendered
        self.fleet = Fleet(docker, view.spec.project)

    def plan(self, anew: Collection[str] = ()) -> Plan:
        """What becomes of each service, and why; `anew` ones are replaced as they are."""
        found, deployed = self.fleet.containers(), record.load(self.view.record)
        left_over = [*mending.surplus(found), *mending.leaving(found, deployed.replacing)]
        running = by_service([container for container in found if container not in left_over])
        return compare(self.rendered.wanted, running, deployed, anew, self.renewed)

    @property
    def renewed(self) -> list[str]:
        """Networks that have to be made anew."""
        return renewed(record.load(self.view.record).networks, self.rendered.networks)

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
        with turn(self.view.lock, self.view.spec.project):
            Rollout(self, plan, report).run(begin, scope, timeout)


class Rollout:
    """The part of a deployment that changes containers."""

    def __init__(self, deployment: Deployment, plan: Plan, report: Report | None) -> None:
        self.docker, self.view, self.rendered = deployment.docker, deployment.view, deployment.rendered
        self.fleet, self.plan, self.report = deployment.fleet, plan, report
        self.renewed = deployment.renewed
        self.services = deployment.rendered.scope.services
        self.replacements = Replacements(self.fleet, self.view, self.services)
        self.healthy: set[str] = set()

    def run(self, begin: Collection[str], scope: Collection[str], timeout: float) -> None:
        """Start what is to begin and wait until all of `scope` is healthy."""
        self._mend()
        self._discard([change.service for change in self.plan.changes if change.action is Action.REMOVE])
        self._disconnect(scope)
        install(self.view, self.rendered)
        self._remember([change.service for change in self.plan.changes if change.action is Action.KEEP])
        try:
            self._startup().run(begin, scope, timeout)
        except Exception:
            self.replacements.undo()
            raise
        finally:
            self.replacements.finish()
        self._shed([name for name in scope if self.plan.action(name) is Action.SCALE])
        self.replacements.balance()

    def _mend(self) -> None:
        """Finish or undo what somebody who was killed left half done."""
        found = self.fleet.containers()
        unfinished = mending.surplus(found)
        self.fleet.discard(unfinished)
        for container, name in mending.names([one for one in found if one not in unfinished]).items():
            self.docker.run(argv.rename(container, name))
        self.replacements.mend()

    def _discard(self, names: Collection[str]) -> None:
        """Remove the containers of services that are no part of the stack any more."""
        if not names:
            return
        self.fleet.halt(names)
        self.fleet.discard(self.fleet.containers(names))
        record.save(self.view.record, record.load(self.view.record).without(set(names)))

    def _disconnect(self, scope: Collection[str]) -> None:
        """Remove networks whose definition changed, unless somebody is in them who is not to be started anew.

        Nobody may be in a network that is removed; Compose makes it anew with the services.
        """
        renewed, wanted = self.renewed, self.rendered.wanted
        names = [name for name in wanted if set(renewed).intersection(wanted[name].config.get("networks") or {})]
        if not set(names) <= set(scope):
            return
        for layer in reversed(layers(self.services)):
            self.fleet.halt([name for name in layer if name in names])
        self.fleet.discard(self.fleet.containers(names))
        for name in renewed:
            self.docker.run(argv.remove_network(str(self.rendered.networks[name]["name"])))
        record.save(self.view.record, record.load(self.view.record).connected(self.rendered.networks))

    def _shed(self, names: Collection[str]) -> None:
        """End the containers that a service has too many of: first those that are not well, then the latest."""
        for name in names:
            found = sorted(self.fleet.containers([name]), key=_worth, reverse=True)
            surplus = found[replicas(self.rendered.wanted[name].config) :]
            self.replacements.balance(without=surplus)
            self.replacements.retire(name, surplus)

    def _startup(self) -> Startup:
        return Startup(
            self.services,
            start=self._start,
            check=self._check,
            log=lambda name: self.fleet.tail(name, FAILURE_LOG_LINES, without=self.replacements.old(name)),
            report=self.report,
        )

    def _start(self, names: Collection[str]) -> None:
        if any(self.services[name].balances for name in names):
            # It would find those by name that are about to end.
            self.replacements.finish()
        replaced = [name for name in names if self.plan.action(name) is Action.RECREATE]
        beside = [name for name in replaced if self.replacements.is_possible(name, self.rendered.wanted[name].config)]
        if fresh := [name for name in names if name not in replaced]:
            self._up(fresh)
        if again := [name for name in replaced if name not in beside]:
            self._halt_requests(again)
            self._up(again, recreate=True)
        if beside:
            self._up_beside(beside)

    def _check(self, names: Collection[str]) -> list[ServiceStatus]:
        titles = {name: self.services[name].title for name in names}
        old = [container for name in names for container in self.replacements.old(name)]
        told = self.fleet.statuses(titles, once=self.rendered.scope.once, without=old)
        for status in told:
            if status.state is State.HEALTHY and status.service not in self.healthy:
                self.healthy.add(status.service)
                self._let_serve(status.service)
        return told

    def _let_serve(self, name: str) -> None:
        if self.replacements.is_open(name):
            self._remember([name])
            self.replacements.passed(name, self.rendered.wanted[name].config)
        elif self.replacements.is_balanced(name):
            self.replacements.balance()

    def _halt_requests(self, names: Collection[str]) -> None:
        """Nobody is to wait for an address behind which there is nobody, or somebody else."""
        if any(self.replacements.is_balanced(name) for name in names):
            self.replacements.balance(without=self.fleet.containers(names))

    def _up_beside(self, names: Collection[str]) -> None:
        """Start new containers of these services beside those they have."""
        counts = self.replacements.begin(names)
        counts = {name: count + replicas(self.rendered.wanted[name].config) for name, count in counts.items()}
        try:
            self.docker.run(argv.up(self.view.spec.project, self.view.file, names, recreate=False, counts=counts))
            self.replacements.hold_back(names)
        except ComposeFailedError as error:
            raise self._blame(names, error) from None

    def _up(self, names: Collection[str], *, recreate: bool = False) -> None:
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
        fresh = {name: wanted[name].kept(self._latest(containers).config_hash) for name, containers in found.items()}
        record.save(self.view.record, record.load(self.view.record).started(fresh))

    def _latest(self, containers: Sequence[Container]) -> Container:
        new = [one for one in containers if one.id not in self.replacements.old(one.service)]
        return (new or containers)[0]

    def _blame(self, names: Collection[str], error: ComposeFailedError) -> StackRuntimeError:
        """Whose fault it was that Compose failed, as far as the containers tell."""
        for container in self.fleet.containers(names):
            if container.error and container.id not in self.replacements.old(container.service):
                log = self.fleet.tail(container.service, FAILURE_LOG_LINES)
                return ServiceFailedError(container.service, f"could not be started ({container.error})", log)
        return error


def _worth(container: Container) -> tuple[bool, bool, int]:
    return container.is_up, container.health in ("", "healthy"), -int(container.number)
