"""What must be known about a stack the next time somebody asks: its ports, address and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from portal.runtime.paths import RuntimePaths
from portal.runtime.ports import free_ports
from portal.runtime.spec import StackSpec
from portal.runtime.translate import LOOPBACK, Location

FILE = "state.json"


@dataclass(frozen=True, slots=True)
class StackState:
    """`ports` maps service -> port inside (as text, JSON has no other keys) -> port here; `instances` holds how many
    of a service somebody asked for, where that is not what the stack file says."""

    base_port: int | None = None
    listen: str = LOOPBACK
    ports: dict[str, dict[str, int]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    instances: dict[str, int] = field(default_factory=dict)


def read_state(root: Path) -> StackState | None:
    """The state of a stack; None when it never ran here."""
    try:
        return StackState(**json.loads((root / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def write_state(root: Path, state: StackState) -> None:
    """Keep the state; a reader never sees half of it."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = root / f"{FILE}.new"
    fresh.write_text(json.dumps(asdict(state), indent=1) + "\n", encoding="utf-8")
    fresh.replace(root / FILE)


def settle(spec: StackSpec, old: StackState | None) -> StackState:
    """The state a stack has when it runs as `spec` says: what the description leaves open stays as it was."""
    before = old or StackState()
    base = spec.base_port if spec.base_port is not None else before.base_port
    return StackState(
        base_port=base,
        listen=spec.listen or before.listen,
        # A part of a stack keeps the addresses of the rest.
        ports={**before.ports, **(_fixed_ports(spec, base) if base is not None else _free_ports(spec, before.ports))},
        settings={**before.settings, **spec.settings},
        aliases={**before.aliases, **spec.aliases},
        instances=before.instances,
    )


def _fixed_ports(spec: StackSpec, base: int) -> dict[str, dict[str, int]]:
    return {
        name: {str(inside): base + offset for inside, offset in service.ports.items()}
        for name, service in spec.services.items()
    }


def _free_ports(spec: StackSpec, before: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    wanted = [(name, str(inside)) for name, service in spec.services.items() for inside in service.ports]
    missing = [pair for pair in wanted if pair[1] not in before.get(pair[0], {})]
    fresh = dict(zip(missing, free_ports(len(missing)), strict=True))
    found: dict[str, dict[str, int]] = {name: {} for name in spec.services}
    for name, inside in wanted:
        found[name][inside] = fresh[name, inside] if (name, inside) in fresh else before[name][inside]
    return found


def locate(spec: StackSpec, state: StackState, paths: RuntimePaths) -> Location:
    """Where a stack in that state is on this host."""
    root = paths.root(spec.project)
    ports = {name: {int(inside): port for inside, port in inner.items()} for name, inner in state.ports.items()}
    known = {"RAGKEEP_VAR": str(paths.var)}
    for name, inner in ports.items():
        for port in list(inner.values())[:1]:
            known[f"LOCAL_PORT_{name.upper()}"] = str(port)
    return Location(
        project=spec.project,
        root=root,
        volume_root=paths.volumes(spec.project),
        listen=state.listen,
        ports=ports,
        settings={**known, **state.settings},
        aliases=state.aliases,
    )
