"""The embedded runtime: every service is a process of this host, kept running by supervisord."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from backups import process
from portal.runtime import description, leftovers, logfile, ports, probe, procfs, single, starts, terminals
from portal.runtime.errors import PortTakenError, StackFileError
from portal.runtime.happenings import happenings
from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import (
    Action,
    Change,
    Features,
    Happening,
    Plan,
    Problem,
    Rendered,
    Report,
    ServiceStatus,
    State,
    Stats,
)
from portal.runtime.spec import ServiceSpec, StackSpec, closure, layers
from portal.runtime.startup import Startup
from portal.runtime.state import StackState, locate, read_state, settle, write_state
from portal.runtime.supervisor import Process, Program, Supervisor, clean_environment
from portal.runtime.translate import LocalService, Location, active, localize

FEATURES = Features(driver="embedded", real_processes=True, images=False, network_isolation=False, replicas=False)
FAILURE_LOG_LINES = 15
# Days of what supervisord writes, unless something ends again and again.
HAPPENINGS_LINES = 2000
STOP_MARGIN_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class View:
    """A stack as it is to run here: which services, where, and as which processes."""

    spec: StackSpec
    state: StackState
    location: Location
    services: dict[str, ServiceSpec]
    local: dict[str, LocalService]


class EmbeddedRuntime:
    """Runs stacks as supervised processes of the calling user; see portal.runtime.protocol for the methods."""

    def __init__(self, paths: RuntimePaths) -> None:
        self.paths = paths
        self.supervisor = Supervisor(paths)

    @property
    def features(self) -> Features:
        return FEATURES

    def locate(self, spec: StackSpec) -> Location:
        """Where the stack's ports, volumes and secrets are on this host, as of its last `apply`."""
        return locate(spec, settle(spec, read_state(self.paths.root(spec.project))), self.paths)

    def validate(self, spec: StackSpec) -> tuple[Problem, ...]:
        try:
            view = self._view(spec)
        except StackFileError as error:
            return (Problem(error.path, error.message, error.remedy),)
        files = {name: view.location.secret(name) for name in spec.secrets if self._needed(view, name)}
        problems = [
            Problem(f"secrets.{name}", f"the file {file} does not exist", "create it with one line")
            for name, file in files.items()
            if not file.exists()
        ]
        if taken := self.taken_ports(spec):
            fault = PortTakenError(taken)
            problems.append(Problem("services", fault.message, fault.remedy))
        return tuple(problems)

    def taken_ports(self, spec: StackSpec) -> dict[int, str]:
        """Ports of services that do not run yet and that somebody else listens on: port -> a few words about who."""
        view = self._view(spec)
        return self._taken(view, set(view.services))

    def provide(self, spec: StackSpec, *, report: Report | None = None) -> None:
        self._view(spec)

    def rendered(self, spec: StackSpec) -> Rendered:
        view = self._view(spec)
        # A stack that never ran has other free ports each time that somebody asks.
        write_state(view.location.root, view.state)
        contents = {name: _mounted(spec, service) for name, service in view.services.items()}
        return Rendered(description.dump(view.local, clean_environment()), {}, contents)

    def keep_images(self, images: Mapping[str, str]) -> None:
        """There are none."""

    def let_images_go(self, names: Collection[str]) -> None:
        """There are none."""

    def plan(self, spec: StackSpec, *, release: Rendered | None = None) -> Plan:
        view = self._view(spec, release)
        return self._plan(view, self.supervisor.processes(spec.project))

    def apply(
        self,
        spec: StackSpec,
        *,
        services: Collection[str] | None = None,
        report: Report | None = None,
        timeout: float = 180.0,
        release: Rendered | None = None,
    ) -> Plan:
        self.supervisor.ensure()
        view = self._view(spec, release)
        scope = closure(view.services, services if services is not None else list(view.services))
        plan = self._plan(view, self.supervisor.processes(spec.project))
        doing = {change.service: change.action for change in plan.changes}
        begin = [name for name in scope if doing[name] in (Action.CREATE, Action.START, Action.RECREATE)]
        self._clear_leftovers(spec.project)
        if taken := self._taken(view, {name for name in begin if doing[name] is not Action.RECREATE}):
            raise PortTakenError(taken)
        self._stop(spec, [name for name, action in doing.items() if action is Action.REMOVE])
        self._stop(spec, [name for name in begin if doing[name] is Action.RECREATE])
        replaced = self._install(view)
        self._startup(view, report).run(scope if replaced else begin, scope, timeout)
        return plan

    def stop(self, spec: StackSpec, *, services: Collection[str] | None = None) -> None:
        self._stop(spec, spec.named(services))

    def scale(self, spec: StackSpec, service: str, instances: int, *, release: Rendered | None = None) -> None:
        single.scale(self, spec, service, instances, release)

    def recreate(self, spec: StackSpec, service: str, *, release: Rendered | None = None) -> None:
        single.recreate(self, spec, service, release)

    def reconcile(self, spec: StackSpec) -> None:
        """A process keeps its address."""

    def remove(self, spec: StackSpec, *, data: bool = False) -> None:
        self._stop(spec, list(spec.services))
        self.supervisor.drop(spec.project)
        leftovers.stop(leftovers.find(self.paths, supervisor=self.supervisor.pid(), project=spec.project))
        if data:
            shutil.rmtree(self.paths.root(spec.project), ignore_errors=True)

    def status(self, spec: StackSpec) -> tuple[ServiceStatus, ...]:
        view = self._view(spec)
        running = procfs.table()
        return tuple(_with_memory(status, running) for status in self._check_all(view, view.services))

    def logs(self, spec: StackSpec, service: str, *, lines: int = 200, follow: bool = False) -> Iterator[str]:
        path = self.locate(spec).logs / f"{spec.service(service).name}.log"
        return logfile.follow(path, lines) if follow else iter(logfile.tail(path, lines))

    def exec(
        self, spec: StackSpec, service: str, argv: Sequence[str], *, timeout: float | None = None
    ) -> process.Completed:
        spec.service(service)
        local = self._view(spec).local[service]
        program = self.paths.tool(argv[0])
        words = [str(program) if program else argv[0], *argv[1:]]
        return process.run(words, env=_visitor(local), cwd=local.cwd, timeout=timeout, check=False)

    def terminal(self, spec: StackSpec, service: str, *, mark: str, rows: int, columns: int) -> terminals.PtyTerminal:
        spec.service(service)
        local = self._view(spec).local[service]
        own = {
            "PATH": self.paths.search_path(local.env.get("PATH", os.defpath)),
            "TERM": terminals.KIND,
            terminals.MARK: mark,
        }
        return terminals.PtyTerminal(
            terminals.SHELL,
            env={**_visitor(local), **own},
            cwd=str(local.cwd),
            rows=rows,
            columns=columns,
            clear=lambda: terminals.end_marked(mark),
        )

    def end_terminal(self, spec: StackSpec, service: str, mark: str) -> None:
        terminals.end_marked(mark)

    def stats(self, spec: StackSpec) -> dict[str, Stats]:
        running = procfs.table()
        known = self.supervisor.processes(spec.project)
        return {name: _stats(known[name].pid, running) for name in spec.services if name in known and known[name].pid}

    def happenings(self, spec: StackSpec, *, since: float) -> tuple[Happening, ...]:
        log = logfile.tail(self.paths.run / "supervisord.log", HAPPENINGS_LINES)
        known = self.supervisor.processes(spec.project)
        run = self.locate(spec).run
        running = {name: found.is_up for name, found in known.items()}
        return happenings(log, running, {name: starts.known(run, name) for name in known}, since=since)

    def _view(self, spec: StackSpec, release: Rendered | None = None) -> View:
        state = settle(spec, read_state(self.paths.root(spec.project)))
        location = locate(spec, state, self.paths)
        if release is not None:
            kept = description.load(release.text, clean_environment())
            known = {name: service for name, service in spec.services.items() if name in kept}
            return View(spec, state, location, known, {name: kept[name] for name in known})
        services = active(spec, location.settings)
        local = {name: self._localize(spec, service, location) for name, service in services.items()}
        return View(spec, state, location, services, local)

    def _localize(self, spec: StackSpec, service: ServiceSpec, location: Location) -> LocalService:
        base = {
            **clean_environment(),
            "HOME": str(location.run),
            "PYTHONUNBUFFERED": "1",
            "RAGKEEP_VAR": str(self.paths.var),
            leftovers.MARKER: leftovers.marker(self.paths, spec.project, service.name),
        }
        if contents := _mounted(spec, service):
            base["RAGKEEP_MOUNTED"] = "-".join(contents.values())
        return localize(spec, service, location, tool=self.paths.tool, base=base, cwd=self.paths.checkout)

    def _needed(self, view: View, secret: str) -> bool:
        return any(secret in service.secrets for service in view.services.values())

    def _plan(self, view: View, known: Mapping[str, Process]) -> Plan:
        changes = [self._change(view, name, known.get(name)) for name in view.services]
        gone = [name for name, found in known.items() if found.is_up and name not in view.services]
        changes.extend(Change(name, Action.REMOVE, "not part of the stack any more") for name in gone)
        return Plan(tuple(changes))

    def _change(self, view: View, name: str, found: Process | None) -> Change:
        record = leftovers.read_record(view.location.run, name)
        if found is None or not found.is_up:
            if record is None:
                return Change(name, Action.CREATE, "has never run here")
            return Change(name, Action.START, "is stopped")
        if record is not None and record.digest != view.local[name].digest:
            return Change(name, Action.RECREATE, "its command or environment changed", ("configuration",))
        return Change(name, Action.KEEP, "runs as described")

    def _taken(self, view: View, starting: set[str]) -> dict[int, str]:
        known = self.supervisor.processes(view.spec.project)
        idle = [name for name in starting if name not in known or not known[name].is_up]
        wanted = {port for name in idle for port in view.location.ports[name].values()}
        return {port: holder for port, (_, holder) in ports.holders(wanted).items()}

    def _clear_leftovers(self, project: str) -> None:
        leftovers.stop(leftovers.find(self.paths, supervisor=self.supervisor.pid(), project=project))

    def _install(self, view: View) -> bool:
        location = view.location
        for folder in (location.conf, location.logs, location.run, location.secrets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_state(location.root, view.state)
        definitions = location.conf / "services.json"
        fresh = definitions.with_suffix(".new")
        content = {name: local.as_json(str(location.run)) for name, local in view.local.items()}
        fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
        fresh.replace(definitions)
        programs = [
            Program(name, definitions, location.logs / f"{name}.log", service.stop_signal, service.stop_seconds)
            for name, service in view.spec.services.items()
        ]
        return self.supervisor.put(view.spec.project, programs)

    def _startup(self, view: View, report: Report | None) -> Startup:
        def start(names: Collection[str]) -> None:
            for name in names:
                self.supervisor.start(view.spec.project, name)

        return Startup(
            view.services,
            start=start,
            check=lambda names: self._check_all(view, names),
            log=lambda name: logfile.tail(view.location.logs / f"{name}.log", FAILURE_LOG_LINES),
            report=report,
        )

    def _check_all(self, view: View, names: Collection[str]) -> list[ServiceStatus]:
        known = self.supervisor.processes(view.spec.project)
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="probe") as pool:
            return list(pool.map(lambda name: self._check(view, name, known.get(name)), names))

    def _check(self, view: View, name: str, found: Process | None) -> ServiceStatus:
        title = view.services[name].title
        if found is None or found.state in ("STOPPED", "STOPPING"):
            return ServiceStatus(name, title, State.STOPPED)
        if found.state == "FATAL":
            return ServiceStatus(name, title, State.FAILED, "it ended again and again; see its log")
        question = view.local[name].probe
        # supervisord calls a process running after a second; an answer to the probe tells it sooner.
        if found.state != "RUNNING" and (found.state != "STARTING" or question.is_empty):
            return ServiceStatus(name, title, State.STARTING, found.note)
        wrong = probe.ask(question, env=_visitor(view.local[name]))
        state = State.HEALTHY
        if wrong:
            young = time.time() - found.start < view.services[name].ready.seconds
            state = State.STARTING if young else State.UNHEALTHY
        return ServiceStatus(name, title, state, wrong, pid=found.pid, since=found.start)

    def _stop(self, spec: StackSpec, names: Collection[str]) -> None:
        known = self.supervisor.processes(spec.project)
        for layer in reversed(layers(spec.services)):
            batch = [name for name in layer if name in names and name in known and known[name].is_up]
            for name in batch:
                self.supervisor.stop(spec.project, name)
            self._await_stopped(spec, batch)
        for name in [name for name in names if name not in spec.services]:
            self.supervisor.stop(spec.project, name)

    def _await_stopped(self, spec: StackSpec, names: Collection[str]) -> None:
        patience = max((spec.services[name].stop_seconds for name in names), default=0) + STOP_MARGIN_SECONDS
        end = time.monotonic() + patience
        while names and time.monotonic() < end:
            known = self.supervisor.processes(spec.project)
            if not any(known[name].pid for name in names if name in known):
                return
            time.sleep(0.05)


def _visitor(local: LocalService) -> dict[str, str]:
    """A service's environment for a process that is no part of it, and must not be taken for a left-over."""
    return {name: value for name, value in local.env.items() if name != leftovers.MARKER}


def _mounted(spec: StackSpec, service: ServiceSpec) -> dict[str, str]:
    """A digest of each folder a service mounts: when its files change, the service must be started anew."""
    places = {mount.target: (spec.file.parent / mount.source).resolve() for mount in service.mounts if not mount.named}
    return {target: _folder_digest(place) for target, place in places.items()}


def _folder_digest(place: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(place.rglob("*")):
        if file.is_file():
            digest.update(os.fsencode(file.relative_to(place)) + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _with_memory(status: ServiceStatus, running: dict[int, procfs.Entry]) -> ServiceStatus:
    if not status.pid:
        return status
    used = procfs.memory(procfs.family(status.pid, running))
    return ServiceStatus(
        status.service, status.title, status.state, status.detail, status.pid, status.since, memory_bytes=used
    )


def _stats(pid: int, running: dict[int, procfs.Entry]) -> Stats:
    family = procfs.family(pid, running)
    read, written = procfs.disk(family) or (None, None)
    return Stats(
        memory_bytes=procfs.memory(family),
        cpu_seconds=sum(running[member].cpu_seconds for member in family),
        processes=len(family),
        disk_read=read,
        disk_written=written,
    )
