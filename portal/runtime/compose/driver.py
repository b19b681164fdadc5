"""The Compose runtime: a stack is a Docker Compose project of this host."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from backups.process import Completed
from portal.runtime.compose import argv, images, mending, occupied, record, usage
from portal.runtime.compose.client import Docker
from portal.runtime.compose.comparison import plan as compare
from portal.runtime.compose.containers import ONE_OFF, PROJECT, SERVICE, Container, by_service, judge, read
from portal.runtime.compose.logs import Line, just_after, merged
from portal.runtime.compose.logs import lines as log_lines
from portal.runtime.compose.project import Rendering, View, described_services, install, read_tree, rendering
from portal.runtime.compose.publishing import published
from portal.runtime.errors import (
    ComposeFailedError,
    ComposeMissingError,
    EngineGoneError,
    PortTakenError,
    ServiceFailedError,
    StackFileError,
    StackRuntimeError,
)
from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import Action, Features, Plan, Problem, Report, ServiceStatus, Stats
from portal.runtime.spec import StackSpec, closure, layers
from portal.runtime.startup import Startup
from portal.runtime.state import locate, read_state, settle
from portal.runtime.translate import Location, active

FEATURES = Features(driver="compose", real_processes=True, images=True, network_isolation=True, replicas=True)
FAILURE_LOG_LINES = 15
FOLLOW_PAUSE_SECONDS = 0.3
# The most that is read of what was written during one pause.
FOLLOW_LINES = 5000
BEGINNINGS = (Action.CREATE, Action.START, Action.RECREATE)


class ComposeRuntime:
    """Runs stacks as Compose projects; see portal.runtime.protocol for the methods.

    It reads from the Engine API and changes things through `docker compose`. Names, labels and networks are Compose's
    own, so that its command line works on the same project.
    """

    def __init__(self, paths: RuntimePaths, docker: Docker | None = None) -> None:
        self.paths = paths
        self.docker = docker or Docker.discover()
        self.engine = self.docker.engine

    @property
    def features(self) -> Features:
        return FEATURES

    def locate(self, spec: StackSpec) -> Location:
        """Where the stack's published ports and its secrets are on this host, as of its last `apply`.

        Its volumes are Docker's: they have no folder of ours.
        """
        view = self._view(spec)
        ports = {name: dict(inner) for name, inner in view.location.ports.items()}
        for name, kept in record.load(view.record).services.items():
            known = ports.get(name, {})
            known.update({inside: port for inside, port in published(kept.config).items() if inside in known})
        return replace(view.location, ports=ports)

    def validate(self, spec: StackSpec) -> tuple[Problem, ...]:
        view = self._view(spec)
        try:
            rendered = rendering(self.docker, view)
            taken = self._taken(view, rendered, rendered.wanted)
        except StackFileError as error:
            return (Problem(error.path, error.message, error.remedy),)
        except (EngineGoneError, ComposeMissingError) as error:
            return (Problem("", error.message, error.remedy),)
        problems = [
            Problem(f"secrets.{name}", f"the file {file} does not exist", "create it with one line")
            for name in sorted(rendered.secrets)
            if not (file := view.location.secret(name)).exists()
        ]
        if taken:
            fault = PortTakenError(taken)
            problems.append(Problem("services", fault.message, fault.remedy))
        return tuple(problems)

    def taken_ports(self, spec: StackSpec) -> dict[int, str]:
        """Ports of the stack that somebody else holds: port -> a few words about who."""
        view = self._view(spec)
        rendered = rendering(self.docker, view)
        return self._taken(view, rendered, rendered.wanted)

    def plan(self, spec: StackSpec) -> Plan:
        view = self._view(spec)
        return self._plan(view, rendering(self.docker, view))

    def apply(
        self,
        spec: StackSpec,
        *,
        services: Collection[str] | None = None,
        report: Report | None = None,
        timeout: float = 180.0,
    ) -> Plan:
        view = self._view(spec)
        rendered = rendering(self.docker, view)
        plan = self._plan(view, rendered)
        known = rendered.scope.services
        scope = closure(known, list(known) if services is None else services)
        begin = [name for name in scope if plan.action(name) in BEGINNINGS]
        if taken := self._taken(view, rendered, begin):
            raise PortTakenError(taken)
        images.provide(self.docker, view, rendered, begin, report)
        self._mend(spec.project)
        self._discard(view, [change.service for change in plan.changes if change.action is Action.REMOVE])
        install(view, rendered)
        self._remember(view, rendered, [change.service for change in plan.changes if change.action is Action.KEEP])
        self._startup(view, rendered, plan, report).run(begin, scope, timeout)
        return plan

    def stop(self, spec: StackSpec, *, services: Collection[str] | None = None) -> None:
        names = list(spec.services) if services is None else [spec.service(name).name for name in services]
        view = self._view(spec)
        found = by_service(self._containers(spec.project))
        if not found:
            return
        record.save(view.record, record.load(view.record).told_to_stop(set(names)))
        for layer in reversed(layers(spec.services)):
            self._halt(found, [name for name in layer if name in names])
        if services is None:
            others = set(described_services(read_tree(view.source))) - set(spec.once)
            self._halt(found, [name for name in found if name not in {*others, *names}])

    def remove(self, spec: StackSpec, *, data: bool = False) -> None:
        self.stop(spec)
        self.docker.run(argv.down(spec.project, volumes=data))
        self._view(spec).record.unlink(missing_ok=True)
        if data:
            shutil.rmtree(self.paths.root(spec.project), ignore_errors=True)

    def status(self, spec: StackSpec) -> tuple[ServiceStatus, ...]:
        view = self._view(spec)
        found = by_service(self._containers(spec.project))
        stopped = record.load(view.record).stopped
        now = time.time()
        told = [
            judge(name, service.title, found.get(name, ()), now=now, stopped=name in stopped)
            for name, service in view.services.items()
        ]
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="stats") as pool:
            used = pool.map(lambda status: self._memory(found.get(status.service, ())), told)
            return tuple(replace(status, memory_bytes=size) for status, size in zip(told, used, strict=True))

    def logs(self, spec: StackSpec, service: str, *, lines: int = 200, follow: bool = False) -> Iterator[str]:
        name = spec.service(service).name
        if follow:
            return self._follow(spec.project, name, max(0, lines))
        return iter(self._tail(spec.project, name, lines))

    def exec(self, spec: StackSpec, service: str, argv_: Sequence[str], *, timeout: float | None = None) -> Completed:
        name = spec.service(service).name
        up = [container for container in self._containers(spec.project, [name]) if container.is_up]
        if not up:
            raise StackRuntimeError(f"service {name} does not run", "start it first")
        return self.docker.run(argv.execute(up[0].id, argv_), timeout=timeout, check=False)

    def stats(self, spec: StackSpec) -> dict[str, Stats]:
        found = by_service([container for container in self._containers(spec.project) if container.is_up])
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="stats") as pool:
            names = [name for name in spec.services if name in found]
            return dict(zip(names, pool.map(lambda name: self._stats(found[name]), names), strict=True))

    def _view(self, spec: StackSpec) -> View:
        state = settle(spec, read_state(self.paths.root(spec.project)))
        location = locate(spec, state, self.paths)
        return View(spec, state, location, active(spec, location.settings))

    def _containers(self, project: str, services: Collection[str] | None = None) -> list[Container]:
        """The containers of these services (None: all of the project's), as they are now."""
        told = self.engine.containers(f"{PROJECT}={project}", f"{ONE_OFF}=False")
        wanted = (item["Id"] for item in told if services is None or item["Labels"].get(SERVICE) in services)
        found = (self.engine.inspect(container) for container in wanted)
        return [read(tree) for tree in found if tree is not None]

    def _plan(self, view: View, rendered: Rendering) -> Plan:
        found = self._containers(view.spec.project)
        unfinished = mending.surplus(found)
        running = by_service([container for container in found if container not in unfinished])
        return compare(rendered.wanted, running, record.load(view.record))

    def _taken(self, view: View, rendered: Rendering, names: Collection[str]) -> dict[int, str]:
        wanted = {port for name in names for port in published(rendered.wanted[name].config).values()}
        return occupied.taken(self.engine, view.spec.project, wanted)

    def _mend(self, project: str) -> None:
        """Finish or undo what a killed Compose left half done."""
        found = self._containers(project)
        unfinished = mending.surplus(found)
        if unfinished:
            self.docker.run(argv.remove([container.id for container in unfinished]))
        for container, name in mending.names([one for one in found if one not in unfinished]).items():
            self.docker.run(argv.rename(container, name))

    def _discard(self, view: View, names: Collection[str]) -> None:
        """Remove the containers of services that are no part of the stack any more."""
        if not names:
            return
        found = by_service(self._containers(view.spec.project, names))
        self._halt(found, names)
        self.docker.run(argv.remove([container.id for name in names for container in found.get(name, ())]))
        record.save(view.record, record.load(view.record).without(set(names)))

    def _halt(self, found: Mapping[str, Sequence[Container]], names: Collection[str]) -> None:
        up = [container.id for name in names for container in found.get(name, ()) if container.is_up]
        if up:
            self.docker.run(argv.stop(up))

    def _startup(self, view: View, rendered: Rendering, plan: Plan, report: Report | None) -> Startup:
        project, known = view.spec.project, rendered.scope.services

        def start(names: Collection[str]) -> None:
            for again in (False, True):
                group = [name for name in names if (plan.action(name) is Action.RECREATE) is again]
                if group:
                    self._up(view, rendered, group, recreate=again)

        def check(names: Collection[str]) -> list[ServiceStatus]:
            found, now = by_service(self._containers(project, names)), time.time()
            return [
                judge(name, known[name].title, found.get(name, ()), now=now, once=name in rendered.scope.once)
                for name in names
            ]

        return Startup(
            known,
            start=start,
            check=check,
            log=lambda name: self._tail(project, name, FAILURE_LOG_LINES),
            report=report,
        )

    def _up(self, view: View, rendered: Rendering, names: Collection[str], *, recreate: bool) -> None:
        project = view.spec.project
        before = {container.id for container in self._containers(project, names)}
        try:
            self.docker.run(argv.up(project, view.file, names, recreate=recreate))
        except ComposeFailedError as error:
            raise self._blame(project, names, error) from None
        finally:
            now = {container.service for container in self._containers(project, names) if container.id in before}
            self._remember(view, rendered, [name for name in names if not (recreate and name in now)])

    def _remember(self, view: View, rendered: Rendering, names: Collection[str]) -> None:
        """Keep what these services were started with, as far as they have containers."""
        found = by_service(self._containers(view.spec.project, names))
        fresh = {name: rendered.wanted[name].kept(containers[0].config_hash) for name, containers in found.items()}
        record.save(view.record, record.load(view.record).started(fresh))

    def _blame(self, project: str, names: Collection[str], error: ComposeFailedError) -> StackRuntimeError:
        """Whose fault it was that Compose failed, as far as the containers tell."""
        for container in self._containers(project, names):
            if container.error:
                log = self._tail(project, container.service, FAILURE_LOG_LINES)
                return ServiceFailedError(container.service, f"could not be started ({container.error})", log)
        return error

    def _log(self, project: str, service: str, lines: int, since: str = "") -> list[Line]:
        found = self._containers(project, [service])
        told = ((self.engine.log(one.id, tail=lines, since=since), one.terminal) for one in found)
        return merged([log_lines(raw, terminal=terminal) for raw, terminal in told])

    def _tail(self, project: str, service: str, lines: int) -> list[str]:
        return [line.text for line in self._log(project, service, lines)[-lines:]] if lines > 0 else []

    def _follow(self, project: str, service: str, lines: int) -> Iterator[str]:
        """Asks again and again: a stream ends with its container, and there may be several of them."""
        found = self._log(project, service, max(1, lines))
        yield from (line.text for line in (found[-lines:] if lines else []))
        since = just_after(found[-1].moment) if found else ""
        while True:
            time.sleep(FOLLOW_PAUSE_SECONDS)
            if found := self._log(project, service, FOLLOW_LINES, since):
                yield from (line.text for line in found)
                since = just_after(found[-1].moment)

    def _memory(self, found: Sequence[Container]) -> int | None:
        up = [container.id for container in found if container.is_up]
        return sum(usage.memory_bytes(self.engine.stats(container)) for container in up) if up else None

    def _stats(self, found: Sequence[Container]) -> Stats:
        told = [self.engine.stats(container.id) for container in found]
        return Stats(
            memory_bytes=sum(usage.memory_bytes(stats) for stats in told),
            cpu_seconds=sum(usage.cpu_seconds(stats) for stats in told),
            processes=sum(usage.family_size(c.pid or 0, self.engine.processes(c.id)) for c in found),
        )
