"""A stack as it is described: frozen values read from one Compose file.

Texts stay as they stand in the file, `${NAME:-default}` included; a driver resolves them when it knows the settings.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import yaml

from portal.runtime.errors import StackFileError, UnknownServiceError
from portal.runtime.foreign import Foreign
from portal.runtime.shape import Node

Words = tuple[str, ...]

# What Compose knows and this stack may use. Anything else is a typing error more often than a wish.
SERVICE_KEYS = frozenset(
    (
        *(
            "image",
            "build",
            "command",
            "entrypoint",
            "environment",
            "secrets",
            "volumes",
            "ports",
            "expose",
            "networks",
        ),
        *("depends_on", "healthcheck", "deploy", "user", "read_only", "cap_drop", "security_opt", "tmpfs", "logging"),
        *("restart", "stop_signal", "stop_grace_period", "init", "extra_hosts", "shm_size", "group_add", "labels"),
        "x-ragkeep",
    )
)
LOCAL_KEYS = frozenset(
    {"title", "command", "ports", "ready", "init", "unless", "once", "replace", "idle", "single", "balances"},
)
CONDITIONS = frozenset({"service_started", "service_healthy", "service_completed_successfully"})
SIGNALS = frozenset({"SIGTERM", "SIGINT", "SIGQUIT"})
REPLACEMENTS = frozenset({"start-first", "stop-first"})
SOURCES = frozenset({"documents", "chroma", "ollama", "postgres", "config"})


# A colon that is not inside ${NAME:-default}.
SEPARATOR = re.compile(r":(?![^{}]*\})")


@dataclass(frozen=True, slots=True)
class Mount:
    """`source` is a volume's name, or a path relative to the stack file when `named` is false."""

    source: str
    target: str
    named: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """How to ask a service whether it is ready: exactly one of `http` (a path), `tcp` or `command`.

    `port` is the port inside the service, `seconds` how long it may take after its start.
    """

    seconds: float
    port: int = 0
    http: str = ""
    command: Words = ()


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service.

    `ports` maps a port inside the service to its distance from the base port; `local` is the command of the embedded
    runtime where it differs from `command`; `init` runs to its end before each start; `scratch` are folders that need
    not survive a restart; `unless` names a setting that, when it has a value, replaces the service. `start_first`: new
    instances are started beside the old ones when it is replaced, and `idle` is the command that succeeds inside one
    that has nothing to do and may end. `single` says why there can only be one instance, empty when there can be more;
    `balances` maps each service whose instances this one spreads requests over to their port.
    """

    name: str
    title: str
    command: Words
    local: Words
    init: tuple[Words, ...]
    environment: Mapping[str, str]
    secrets: Words
    mounts: tuple[Mount, ...]
    scratch: Words
    ports: Mapping[int, int]
    published: bool
    depends_on: Words
    ready: Ready
    stop_signal: str
    stop_seconds: int
    unless: str
    start_first: bool = False
    idle: Words = ()
    single: str = ""
    balances: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class StackSpec:
    """A whole stack.

    `base_port` None means: the ports it had before, or free ones for a stack that never ran; an empty `listen`
    likewise the address it had before, or loopback. `settings` are the values of the file's `${...}` variables; a
    driver remembers those it was given last. `once` names the services that prepare something for the others and end;
    only containers need them, so they are not among `services`. `aliases` are addresses outside the stack, e.g.
    `portal:8000` -> `127.0.0.1:8082`. `overlays` are further Compose files, merged over `file` in their order where
    containers run; other runtimes leave them out. `niceness` (0 to 19): how far all of it stands back for a processor
    behind what else this machine does. `foreign`: the stack is somebody else's Compose project, run as it stands.
    """

    file: Path
    project: str
    services: Mapping[str, ServiceSpec]
    volumes: Mapping[str, str]
    secrets: Words
    once: Words = ()
    base_port: int | None = None
    listen: str = ""
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    overlays: tuple[Path, ...] = ()
    niceness: int = 0
    foreign: Foreign | None = None

    def named(self, services: Collection[str] | None) -> list[str]:
        """These services, all of them for None; raises as `service`."""
        return list(self.services) if services is None else [self.service(name).name for name in services]

    def service(self, name: str) -> ServiceSpec:
        """
        Raises:
            UnknownServiceError: there is none of that name.
        """
        if name not in self.services:
            raise UnknownServiceError(self.project, name, list(self.services))
        return self.services[name]

    def derive(
        self,
        *,
        project: str | None = None,
        services: Collection[str] | None = None,
        base_port: int | None = None,
        listen: str | None = None,
        settings: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
        overlays: Sequence[Path] | None = None,
        niceness: int | None = None,
    ) -> StackSpec:
        """The same stack under another name, with fewer services, or with other ports, settings or overlays.

        Raises:
            UnknownServiceError: one of `services` is not in the stack.
        """
        kept = list(self.services) if services is None else [self.service(name).name for name in services]
        return replace(
            self,
            project=project or self.project,
            services=MappingProxyType({name: spec for name, spec in self.services.items() if name in kept}),
            base_port=self.base_port if base_port is None else base_port,
            listen=listen or self.listen,
            settings=MappingProxyType({**self.settings, **(settings or {})}),
            aliases=MappingProxyType({**self.aliases, **(aliases or {})}),
            overlays=self.overlays if overlays is None else tuple(overlays),
            niceness=self.niceness if niceness is None else niceness,
        )


def load_stack(path: Path, *, project: str | None = None) -> StackSpec:
    """Read a stack file; its `name` is the project unless another is given.

    Raises:
        StackFileError: it is not valid; the error names the place.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StackFileError(str(path), f"cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path.name}:{mark.line + 1}" if mark else path.name
        raise StackFileError(where, "is not YAML") from None
    return parse_stack(tree, path, project=project)


def parse_stack(tree: object, path: Path, *, project: str | None = None) -> StackSpec:
    """Turn parsed YAML into a StackSpec; `path` is where the file lies, for the paths inside it.

    Raises:
        StackFileError: it is not valid; the error names the place.
    """
    top = {key: node for key, node in Node(tree).mapping().items() if not key.startswith("x-")}
    for key, node in top.items():
        if key not in {"name", "services", "volumes", "secrets", "networks"}:
            raise node.fail("unknown key, expected one of name, networks, secrets, services, volumes")
    volumes = {name: _volume_source(node) for name, node in _get(top, "volumes").mapping().items()}
    secrets = tuple(_get(top, "secrets").mapping())
    every = {name: _service(name, node) for name, node in _get(top, "services").mapping().items()}
    for service in every.values():
        _check_references(service, every, volumes, secrets)
    once = tuple(name for name, node in _get(top, "services").mapping().items() if _runs_once(node))
    services = {name: _without(service, once) for name, service in every.items() if name not in once}
    if not services:
        raise StackFileError("services", "expected at least one service")
    _check_ports(services)
    _check_balances(services)
    return StackSpec(
        file=path,
        project=project or _get(top, "name").text(),
        services=MappingProxyType(services),
        volumes=MappingProxyType(volumes),
        secrets=secrets,
        once=once,
    )


def _get(entries: Mapping[str, Node], key: str, parent: str = "") -> Node:
    return entries.get(key) or Node(None, f"{parent}.{key}" if parent else key)


def _volume_source(node: Node) -> str:
    local = _get(node.known({"x-ragkeep", "name"}), "x-ragkeep", node.path).known({"source"})
    return local["source"].choice(SOURCES) if "source" in local else ""


def _runs_once(node: Node) -> bool:
    local = _get(node.mapping(), "x-ragkeep", node.path).mapping()
    return "once" in local and local["once"].flag()


def _without(service: ServiceSpec, names: Collection[str]) -> ServiceSpec:
    return replace(service, depends_on=tuple(need for need in service.depends_on if need not in names))


def _service(name: str, node: Node) -> ServiceSpec:
    entries = node.known(SERVICE_KEYS)
    local = _get(entries, "x-ragkeep", node.path).known(LOCAL_KEYS)
    command = _get(entries, "command", node.path).words()
    own = _get(local, "command", node.path).words()
    if not command and not own:
        raise node.fail("expected a command, or x-ragkeep.command for the embedded runtime")
    return ServiceSpec(
        name=name,
        title=local["title"].text() if "title" in local else name,
        command=command,
        local=own,
        init=tuple(step.words() for step in _get(local, "init").items()),
        environment=MappingProxyType(_environment(_get(entries, "environment", node.path))),
        secrets=_get(entries, "secrets").words(),
        mounts=tuple(_mount(item) for item in _get(entries, "volumes").items()),
        scratch=tuple(item.text().partition(":")[0] for item in _get(entries, "tmpfs").items()),
        ports=MappingProxyType(_ports(_get(local, "ports"))),
        published="ports" in entries,
        depends_on=_depends_on(_get(entries, "depends_on", node.path)),
        ready=_ready(_get(local, "ready", f"{node.path}.x-ragkeep")),
        stop_signal=entries["stop_signal"].choice(SIGNALS) if "stop_signal" in entries else "SIGTERM",
        stop_seconds=_seconds(entries["stop_grace_period"]) if "stop_grace_period" in entries else 10,
        unless=local["unless"].text() if "unless" in local else "",
        start_first=local["replace"].choice(REPLACEMENTS) == "start-first" if "replace" in local else False,
        idle=_get(local, "idle", node.path).words(),
        single=local["single"].text() if "single" in local else "",
        balances=MappingProxyType(_balances(_get(local, "balances"))),
    )


def _environment(node: Node) -> dict[str, str]:
    return {key: "" if value.value == "" else value.scalar() for key, value in node.mapping().items()}


def _mount(node: Node) -> Mount:
    parts = SEPARATOR.split(node.text())
    if len(parts) not in (2, 3) or not all(parts) or parts[2:] not in ([], ["ro"]):
        raise node.fail("expected volume:/path or ./path:/path:ro")
    if not parts[1].startswith(("/", "${")):
        raise node.fail(f"expected an absolute path after the colon, found {parts[1]!r}")
    return Mount(source=parts[0], target=parts[1].rstrip("/"), named=parts[0][0] not in "./~$")


def _ports(node: Node) -> dict[int, int]:
    found: dict[int, int] = {}
    for key, value in node.mapping().items():
        if not key.isdigit() or not 0 < int(key) < 65536:
            raise value.fail("expected the port inside the service as the key, 1 to 65535")
        found[int(key)] = value.integer(0, 999)
    return found


def _balances(node: Node) -> dict[str, int]:
    return {name: value.integer(1, 65535) for name, value in node.mapping().items()}


def _depends_on(node: Node) -> Words:
    if isinstance(node.value, list):
        return node.words()
    for entry in node.mapping().values():
        condition = _get(entry.known({"condition"}), "condition", entry.path)
        condition.choice(CONDITIONS)
    return tuple(node.mapping())


def _ready(node: Node) -> Ready:
    entries = node.known({"http", "tcp", "port", "command", "seconds"})
    given = [key for key in ("http", "tcp", "command") if key in entries]
    if node.missing:
        return Ready(seconds=10)
    if len(given) != 1:
        raise node.fail("expected exactly one of http, tcp, command")
    seconds = entries["seconds"].integer(1, 3600) if "seconds" in entries else 60
    if given == ["command"]:
        return Ready(seconds=seconds, command=entries["command"].words())
    if given == ["tcp"]:
        return Ready(seconds=seconds, port=entries["tcp"].integer(1, 65535))
    return Ready(seconds=seconds, http=entries["http"].text(), port=_get(entries, "port", node.path).integer(1, 65535))


def _seconds(node: Node) -> int:
    text = node.text()
    if not text.endswith("s") or not text[:-1].isdigit():
        raise node.fail(f"expected whole seconds such as 30s, found {text!r}")
    return int(text[:-1])


def _check_references(
    service: ServiceSpec, services: Collection[str], volumes: Collection[str], secrets: Collection[str]
) -> None:
    where = f"services.{service.name}"
    for index, name in enumerate(service.secrets):
        if name not in secrets:
            raise StackFileError(f"{where}.secrets[{index}]", f"no secret {name!r} under the top-level secrets")
    for name in service.depends_on:
        if name not in services or name == service.name:
            raise StackFileError(f"{where}.depends_on.{name}", "expected another service of this stack")
    for index, mount in enumerate(service.mounts):
        if mount.named and mount.source not in volumes:
            raise StackFileError(f"{where}.volumes[{index}]", f"no volume {mount.source!r} under the top-level volumes")
    if service.ready.port and service.ready.port not in service.ports:
        raise StackFileError(f"{where}.x-ragkeep.ready", f"port {service.ready.port} is not under x-ragkeep.ports")


def _check_balances(services: Mapping[str, ServiceSpec]) -> None:
    for service in services.values():
        for name, port in service.balances.items():
            if name not in services or port not in services[name].ports:
                where = f"services.{service.name}.x-ragkeep.balances.{name}"
                raise StackFileError(where, "expected another service of this stack, and a port of its x-ragkeep.ports")


def _check_ports(services: Mapping[str, ServiceSpec]) -> None:
    seen: dict[int, str] = {}
    for service in services.values():
        for port, offset in service.ports.items():
            where = f"services.{service.name}.x-ragkeep.ports.{port}"
            if offset in seen:
                raise StackFileError(where, f"distance {offset} is already used by {seen[offset]}")
            seen[offset] = where
    layers(services)


def layers(services: Mapping[str, ServiceSpec]) -> list[list[str]]:
    """The services in the order of their start: each list needs only the lists before it.

    What a service depends on outside `services` counts as present.

    Raises:
        StackFileError: they depend on each other in a circle.
    """
    waiting, order = dict(services), list[list[str]]()
    while waiting:
        layer = [name for name, spec in waiting.items() if not any(need in waiting for need in spec.depends_on)]
        if not layer:
            name = next(iter(waiting))
            raise StackFileError(f"services.{name}.depends_on", "services depend on each other in a circle")
        order.append(layer)
        for name in layer:
            del waiting[name]
    return order


def closure(services: Mapping[str, ServiceSpec], names: Collection[str]) -> list[str]:
    """These services and what they depend on, in the order of `services`; names that are not there are left out."""
    wanted = [name for name in names if name in services]
    for name in wanted:
        wanted.extend(need for need in services[name].depends_on if need in services and need not in wanted)
    return [name for name in services if name in wanted]
