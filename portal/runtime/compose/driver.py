"""The Compose runtime: a stack is a Docker Compose project of this host."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from backups.process import Completed
from portal.runtime.compose import argv, keeping, mending, record, scaling, terminal
from portal.runtime.compose.balancer import serving
from portal.runtime.compose.client import Docker
from portal.runtime.compose.containers import by_service
from portal.runtime.compose.deployment import Deployment
from portal.runtime.compose.fleet import Fleet
from portal.runtime.compose.project import View, described_services, read_tree
from portal.runtime.compose.publishing import published
from portal.runtime.compose.rendering import rendered, rendering
from portal.runtime.compose.replacement import Replacements
from portal.runtime.compose.turns import turn
from portal.runtime.errors import (
    ComposeFailedError,
    ComposeMissingError,
    EngineGoneError,
    PortTakenError,
    StackBusyError,
    StackFileError,
    StackRuntimeError,
)
from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import Features, Happening, Plan, Problem, Rendered, Report, ServiceStatus, Stats
from portal.runtime.spec import StackSpec, layers
from portal.runtime.state import locate, read_state, settle, write_state
from portal.runtime.terminals import PtyTerminal
from portal.runtime.translate import Location, active

FEATURES = Features(driver="compose", real_processes=True, images=True, network_isolation=True, replicas=True)
RECREATE_SECONDS = 180.0


class ComposeRuntime:
    """Runs stacks as Compose projects; see portal.runtime.protocol for the methods.

    It reads from the Engine API and changes things through `docker compose`. Names, labels and networks are Compose's
    own, so that its command line works on the same project.
    """

    def __init__(self, paths: RuntimePaths, docker: Docker | None = None) -> None:
        self.paths = paths
        self.docker = docker or Docker.discover()

    @property
    def features(self) -> Features:
        return FEATURES

    def locate(self, spec: StackSpec) -> Location:
        """Where the stack's published ports and its secrets are on this host, as of its last `apply`.

        Its volumes are Docker's: they have no folder of ours.
        """
        view = self.view(spec)
        ports = {name: dict(inner) for name, inner in view.location.ports.items()}
        for name, kept in record.load(view.record).services.items():
            known = ports.get(name, {})
            known.update({inside: port for inside, port in published(kept.config).items() if inside in known})
        return replace(view.location, ports=ports)

    def validate(self, spec: StackSpec) -> tuple[Problem, ...]:
        view = self.view(spec)
        try:
            found = rendering(self.docker, view)
            taken = Deployment(self.docker, view, found).taken(found.wanted)
        except StackFileError as error:
            return (Problem(error.path, error.message, error.remedy),)
        except (EngineGoneError, ComposeMissingError) as error:
            return (Problem("", error.message, error.remedy),)
        problems = [
            Problem(f"secrets.{name}", f"the file {file} does not exist", "create it with one line")
            for name in sorted(found.secrets)
            if not (file := view.location.secret(name)).exists()
        ]
        if taken:
            fault = PortTakenError(taken)
            problems.append(Problem("services", fault.message, fault.remedy))
        return tuple(problems)

    def taken_ports(self, spec: StackSpec) -> dict[int, str]:
        """Ports of the stack that somebody else holds: port -> a few words about who."""
        deployment = self._deployment(spec)
        return deployment.taken(deployment.rendered.wanted)

    def provide(self, spec: StackSpec, *, report: Report | None = None) -> None:
        deployment = self._deployment(spec)
        deployment.provide(deployment.rendered.wanted, report)

    def rendered(self, spec: StackSpec) -> Rendered:
        return rendered(self.docker, self.view(spec))

    def keep_images(self, images: Mapping[str, str]) -> None:
        keeping.keep(self.docker, images)

    def let_images_go(self, names: Collection[str]) -> None:
        keeping.let_go(self.docker, names)

    def plan(self, spec: StackSpec, *, release: Rendered | None = None) -> Plan:
        return self._deployment(spec, release).plan()

    def apply(
        self,
        spec: StackSpec,
        *,
        services: Collection[str] | None = None,
        report: Report | None = None,
        timeout: float = 180.0,
        release: Rendered | None = None,
    ) -> Plan:
        deployment = self._deployment(spec, release)
        plan = deployment.plan()
        deployment.run(plan, services, report, timeout)
        return plan

    def scale(self, spec: StackSpec, service: str, instances: int, *, release: Rendered | None = None) -> None:
        wanted, view = spec.service(service), self.view(spec)
        found = rendering(self.docker, view, release).wanted
        scaling.check(wanted, found[wanted.name].config if wanted.name in found else {}, instances)
        write_state(view.location.root, replace(view.state, instances={**view.state.instances, wanted.name: instances}))
        self.apply(spec, services=[wanted.name], release=release)

    def recreate(self, spec: StackSpec, service: str, *, release: Rendered | None = None) -> None:
        name, deployment = spec.service(service).name, self._deployment(spec, release)
        deployment.run(deployment.plan(anew=[name]), [name], None, RECREATE_SECONDS)

    def stop(self, spec: StackSpec, *, services: Collection[str] | None = None) -> None:
        names = spec.named(services)
        view, fleet = self.view(spec), self._fleet(spec)
        found = by_service(fleet.containers())
        if not found:
            return
        with turn(view.lock, spec.project):
            record.save(view.record, record.load(view.record).told_to_stop(set(names)))
            for layer in reversed(layers(spec.services)):
                fleet.halt([name for name in layer if name in names])
            if services is None:
                others = set(described_services(read_tree(view.source))) - set(spec.once)
                fleet.halt([name for name in found if name not in {*others, *names}])
            self._balance(view)

    def reconcile(self, spec: StackSpec) -> None:
        view = self.view(spec)
        with suppress(StackBusyError), turn(view.lock, spec.project, patience=0):
            self._balance(view)

    def remove(self, spec: StackSpec, *, data: bool = False) -> None:
        self.stop(spec)
        self.docker.run(argv.down(spec.project, volumes=data))
        self.view(spec).record.unlink(missing_ok=True)
        if data:
            shutil.rmtree(self.paths.root(spec.project), ignore_errors=True)

    def status(self, spec: StackSpec) -> tuple[ServiceStatus, ...]:
        view = self.view(spec)
        titles = {name: service.title for name, service in view.services.items()}
        deployed, fleet = record.load(view.record), self._fleet(spec)
        # One beside the others is none of the service yet, or no more.
        beside = mending.leaving(fleet.containers(deployed.replacing), deployed.replacing)
        leaving = {container.id for container in beside}
        return tuple(fleet.statuses_with_memory(titles, stopped=deployed.stopped, without=leaving))

    def logs(self, spec: StackSpec, service: str, *, lines: int = 200, follow: bool = False) -> Iterator[str]:
        name, fleet = spec.service(service).name, self._fleet(spec)
        return fleet.follow(name, max(0, lines)) if follow else iter(fleet.tail(name, lines))

    def exec(self, spec: StackSpec, service: str, argv_: Sequence[str], *, timeout: float | None = None) -> Completed:
        container, mark = self._serving(spec, service), secrets.token_hex(8)
        try:
            return self.docker.run(argv.execute(container, argv_, mark=mark), timeout=timeout, check=False)
        except ComposeFailedError:
            # The command that waits for it ended; it goes on.
            self.docker.run(argv.end_marked(container, mark), check=False)
            raise

    def terminal(self, spec: StackSpec, service: str, *, mark: str, rows: int, columns: int) -> PtyTerminal:
        container = self._serving(spec, service)
        return terminal.opened(self.docker, container, mark=mark, rows=rows, columns=columns)

    def end_terminal(self, spec: StackSpec, service: str, mark: str) -> None:
        for container in self._fleet(spec).containers([spec.service(service).name]):
            terminal.ended(self.docker, container.id, mark)

    def stats(self, spec: StackSpec) -> dict[str, Stats]:
        return self._fleet(spec).stats(list(spec.services))

    def happenings(self, spec: StackSpec, *, since: float) -> tuple[Happening, ...]:
        return self._fleet(spec).happenings(since=since)

    def _serving(self, spec: StackSpec, service: str) -> str:
        """The id of a container of the service that serves."""
        name = spec.service(service).name
        up = serving(self._fleet(spec).containers([name]))
        if not up:
            raise StackRuntimeError(f"service {name} does not run", "start it first")
        return up[0].id

    def _balance(self, view: View) -> None:
        if by_service(self._fleet(view.spec).containers()):
            Replacements(self._fleet(view.spec), view, view.services).balance()

    def view(self, spec: StackSpec) -> View:
        """The stack as it is to run here, with its state and where it is."""
        state = settle(spec, read_state(self.paths.root(spec.project)))
        location = locate(spec, state, self.paths)
        return View(spec, state, location, active(spec, location.settings))

    def _deployment(self, spec: StackSpec, release: Rendered | None = None) -> Deployment:
        view = self.view(spec)
        return Deployment(self.docker, view, rendering(self.docker, view, release))

    def _fleet(self, spec: StackSpec) -> Fleet:
        return Fleet(self.docker, spec.project)
