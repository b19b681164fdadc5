"""A runtime without processes, for tests of what is built on one. It passes the same contract as the real ones."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from backups.process import Completed
from portal.runtime.errors import ServiceFailedError
from portal.runtime.protocol import Action, Change, Features, Plan, Problem, Report, ServiceStatus, State, Stats
from portal.runtime.spec import ServiceSpec, StackSpec, layers

FEATURES = Features(driver="fake", real_processes=False, images=False, network_isolation=False, replicas=False)


@dataclass
class _Running:
    """`order` lists what happened, `log` what each service is said to have written."""

    up: dict[str, tuple[ServiceSpec, float]] = field(default_factory=dict)
    created: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    log: dict[str, list[str]] = field(default_factory=dict)


class FakeRuntime:
    """Remembers what it was told. `faults` maps the name of a service that shall fail to the last line of its log;
    `calls` lists every start and stop as (verb, project, service), in order."""

    def __init__(self, faults: Mapping[str, str] | None = None) -> None:
        self.faults = dict(faults or {})
        self.calls: list[tuple[str, str, str]] = []
        self._stacks: dict[str, _Running] = {}

    @property
    def features(self) -> Features:
        return FEATURES

    def validate(self, spec: StackSpec) -> tuple[Problem, ...]:
        return ()

    def plan(self, spec: StackSpec) -> Plan:
        stack = self._stack(spec)
        changes = [self._change(stack, service) for service in spec.services.values()]
        changes += [
            Change(name, Action.REMOVE, "not part of the stack") for name in stack.up if name not in spec.services
        ]
        return Plan(tuple(changes))

    def apply(
        self,
        spec: StackSpec,
        *,
        services: Collection[str] | None = None,
        report: Report | None = None,
        timeout: float = 180.0,
    ) -> Plan:
        plan, stack = self.plan(spec), self._stack(spec)
        wanted = set(spec.services) if services is None else set(services)
        for name in list(wanted):
            wanted.update(_needs(spec, name))
        gone = [c.service for c in plan.changes if c.action is Action.REMOVE]
        self._down(spec, [*gone, *(name for name in wanted if plan.action(name) is Action.RECREATE)])
        for layer in layers(spec.services):
            for name in [name for name in layer if name in wanted and name not in stack.up]:
                self._up(spec, stack, name)
        for status in self.status(spec):
            if report is not None and status.service in wanted:
                report(status)
        return plan

    def stop(self, spec: StackSpec, *, services: Collection[str] | None = None) -> None:
        self._down(spec, list(spec.services) if services is None else [spec.service(name).name for name in services])

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

    def stats(self, spec: StackSpec) -> dict[str, Stats]:
        return {name: Stats(memory_bytes=1 << 20, cpu_seconds=0.0, processes=1) for name in self._stack(spec).up}

    def _stack(self, spec: StackSpec) -> _Running:
        return self._stacks.setdefault(spec.project, _Running())

    def _change(self, stack: _Running, service: ServiceSpec) -> Change:
        if service.name not in stack.up:
            known = service.name in stack.created
            return Change(service.name, Action.START if known else Action.CREATE, "does not run")
        if stack.up[service.name][0] != service:
            return Change(service.name, Action.RECREATE, "its description changed")
        return Change(service.name, Action.KEEP, "runs as described")

    def _up(self, spec: StackSpec, stack: _Running, name: str) -> None:
        self.calls.append(("start", spec.project, name))
        stack.created.add(name)
        lines = stack.log.setdefault(name, [])
        if name in self.faults:
            lines.append(self.faults[name])
            stack.failed[name] = "gave up starting"
            raise ServiceFailedError(name, "gave up starting", lines[-15:])
        lines.append("started")
        stack.failed.pop(name, None)
        stack.up[name] = (spec.services[name], time.time())

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


def _needs(spec: StackSpec, name: str) -> set[str]:
    found, waiting = set[str](), [name]
    while waiting:
        for need in spec.service(waiting.pop()).depends_on:
            if need in spec.services and need not in found:
                found.add(need)
                waiting.append(need)
    return found
