"""A runtime without processes, for tests of what is built on one. It passes the same contract as the real ones."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from backups.process import Completed
from portal.runtime import single
from portal.runtime.errors import ServiceFailedError
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
from portal.runtime.spec import ServiceSpec, StackSpec, layers
from portal.runtime.translate import VARIABLE

PROMPT = b"$ "
FEATURES = Features(driver="fake", real_processes=False, images=False, network_isolation=False, replicas=False)


@dataclass
class _Running:
    """`up` maps what runs to its description and start, `log` what each service is said to have written."""

    up: dict[str, tuple[str, float]] = field(default_factory=dict)
    created: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    log: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


class FakeTerminal:
    """Echoes what is typed, and understands two commands: `stty size` and `exit STATUS`."""

    def __init__(self, rows: int, columns: int) -> None:
        self._size = (rows, columns)
        self._typed = b""
        self._status: int | None = None
        self._written: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._written.put(PROMPT)

    def read(self, seconds: float) -> bytes | None:
        try:
            return self._written.get(timeout=seconds)
        except queue.Empty:
            return None if self._status is None else b""

    def write(self, data: bytes) -> int:
        self._written.put(data.replace(b"\r", b"\r\n"))
        *lines, self._typed = (self._typed + data).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._do(line.decode().split())
        return len(data)

    def resize(self, rows: int, columns: int) -> None:
        self._size = (rows, columns)

    def close(self) -> int | None:
        ended, self._status = self._status, -9 if self._status is None else self._status
        return ended

    def _do(self, words: list[str]) -> None:
        if words[:1] == ["exit"]:
            self._status = int(words[1]) if words[1:] else 0
            self._written.put(b"")
        else:
            told = b"%d %d\r\n" % self._size if words == ["stty", "size"] else b""
            self._written.put(told + PROMPT)


class FakeRuntime:
    """Remembers what it was told. `faults` maps the name of a service that shall fail to the last line of its log;
    `calls` lists every start and stop as (verb, project, service), in order."""

    def __init__(self, faults: Mapping[str, str] | None = None) -> None:
        self.faults = dict(faults or {})
        self.calls: list[tuple[str, str, str]] = []
        self.happened: list[Happening] = []
        self.kept: dict[str, str] = {}
        self.terminals: dict[str, FakeTerminal] = {}
        self._stacks: dict[str, _Running] = {}

    @property
    def features(self) -> Features:
        return FEATURES

    def validate(self, spec: StackSpec) -> tuple[Problem, ...]:
        return ()

    def provide(self, spec: StackSpec, *, report: Report | None = None) -> None:
        self.calls.append(("provide", spec.project, ""))

    def rendered(self, spec: StackSpec) -> Rendered:
        return Rendered(json.dumps(self._described(spec), indent=1), {}, {name: {} for name in spec.services})

    def keep_images(self, images: Mapping[str, str]) -> None:
        self.kept.update(images)

    def let_images_go(self, names: Collection[str]) -> None:
        for name in names:
            self.kept.pop(name, None)

    def plan(self, spec: StackSpec, *, release: Rendered | None = None) -> Plan:
        stack, wanted = self._stack(spec), self._wanted(spec, release)
        changes = [self._change(stack, name, text) for name, text in wanted.items()]
        changes += [Change(name, Action.REMOVE, "not part of the stack") for name in stack.up if name not in wanted]
        return Plan(tuple(changes))

    def apply(
        self,
        spec: StackSpec,
        *,
        services: Collection[str] | None = None,
        report: Report | None = None,
        timeout: float = 180.0,
        release: Rendered | None = None,
    ) -> Plan:
        plan, stack, described = self.plan(spec, release=release), self._stack(spec), self._wanted(spec, release)
        wanted = set(described) if services is None else set(services)
        for name in list(wanted):
            wanted.update(_needs(spec, name))
        gone = [c.service for c in plan.changes if c.action is Action.REMOVE]
        self._down(spec, [*gone, *(name for name in wanted if plan.action(name) is Action.RECREATE)])
        stack.settings.update(spec.settings)
        for layer in layers(spec.services):
            for name in [name for name in layer if name in wanted and name in described and name not in stack.up]:
                self._up(spec, stack, name, described[name])
        for status in self.status(spec):
            if report is not None and status.service in wanted:
                report(status)
        return plan

    def scale(self, spec: StackSpec, service: str, instances: int, *, release: Rendered | None = None) -> None:
        single.scale(self, spec, service, instances, release)

    def recreate(self, spec: StackSpec, service: str, *, release: Rendered | None = None) -> None:
        single.recreate(self, spec, service, release)

    def stop(self, spec: StackSpec, *, services: Collection[str] | None = None) -> None:
        self._down(spec, spec.named(services))

    def reconcile(self, spec: StackSpec) -> None:
        """Nothing changes by itself here."""

    def remove(self, spec: StackSpec, *, data: bool = False) -> None:
        self._down(spec, list(spec.services))
        self._stacks.pop(spec.project, None)

    def status(self, spec: StackSpec) -> tuple[ServiceStatus, ...]:
        stack = self._stack(spec)
        return tuple(self._status(stack, service) for service in spec.services.values())

    def logs(self, spec: StackSpec, service: str, *, lines: int = 200, follow: bool = False) -> Iterator[str]:
        written = self._stack(spec).log.get(spec.service(service).name, [])
        return iter(written[-lines:] if lines > 0 else [])

    def exec(self, spec: StackSpec, service: str, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        self.calls.append(("exec", spec.project, spec.service(service).name))
        return Completed(argv[0], 0, "", "")

    def terminal(self, spec: StackSpec, service: str, *, mark: str, rows: int, columns: int) -> FakeTerminal:
        self.calls.append(("terminal", spec.project, spec.service(service).name))
        self.terminals[mark] = FakeTerminal(rows, columns)
        return self.terminals[mark]

    def end_terminal(self, spec: StackSpec, service: str, mark: str) -> None:
        self.calls.append(("end_terminal", spec.project, service))
        if mark in self.terminals:
            self.terminals[mark].close()

    def stats(self, spec: StackSpec) -> dict[str, Stats]:
        return {name: Stats(memory_bytes=1 << 20, cpu_seconds=0.0, processes=1) for name in self._stack(spec).up}

    def happenings(self, spec: StackSpec, *, since: float) -> tuple[Happening, ...]:
        return tuple(item for item in self.happened if item.at > since)

    def _stack(self, spec: StackSpec) -> _Running:
        return self._stacks.setdefault(spec.project, _Running())

    def _wanted(self, spec: StackSpec, release: Rendered | None) -> dict[str, str]:
        told: dict[str, str] = self._described(spec) if release is None else json.loads(release.text)
        return {name: text for name, text in told.items() if name in spec.services}

    def _described(self, spec: StackSpec) -> dict[str, str]:
        """Each service in words, with the values of the settings that it names."""
        settings = {**self._stack(spec).settings, **spec.settings}
        return {name: f"{service} {_named(str(service), settings)}" for name, service in spec.services.items()}

    def _change(self, stack: _Running, name: str, described: str) -> Change:
        if name not in stack.up:
            return Change(name, Action.START if name in stack.created else Action.CREATE, "does not run")
        if stack.up[name][0] != described:
            return Change(name, Action.RECREATE, "its description changed", ("configuration",))
        return Change(name, Action.KEEP, "runs as described")

    def _up(self, spec: StackSpec, stack: _Running, name: str, described: str) -> None:
        self.calls.append(("start", spec.project, name))
        stack.created.add(name)
        lines = stack.log.setdefault(name, [])
        if name in self.faults:
            lines.append(self.faults[name])
            stack.failed[name] = "gave up starting"
            raise ServiceFailedError(name, "gave up starting", lines[-15:])
        lines.append("started")
        stack.failed.pop(name, None)
        stack.up[name] = (described, time.time())

    def _down(self, spec: StackSpec, names: Collection[str]) -> None:
        stack = self._stack(spec)
        for layer in reversed(layers(spec.services)):
            for name in [name for name in layer if name in names and name in stack.up]:
                self.calls.append(("stop", spec.project, name))
                del stack.up[name]
        for name in names:
            stack.up.pop(name, None)
            stack.failed.pop(name, None)

    def _status(self, stack: _Running, service: ServiceSpec) -> ServiceStatus:
        if service.name in stack.up:
            since = stack.up[service.name][1]
            return ServiceStatus(service.name, service.title, State.HEALTHY, "", 1, since, 1 << 20)
        if service.name in stack.failed:
            return ServiceStatus(service.name, service.title, State.FAILED, stack.failed[service.name])
        return ServiceStatus(service.name, service.title, State.STOPPED)


def _named(text: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {found["name"]: settings.get(found["name"], "") for found in VARIABLE.finditer(text) if found["name"]}


def _needs(spec: StackSpec, name: str) -> set[str]:
    found, waiting = set[str](), [name]
    while waiting:
        for need in spec.service(waiting.pop()).depends_on:
            if need in spec.services and need not in found:
                found.add(need)
                waiting.append(need)
    return found
