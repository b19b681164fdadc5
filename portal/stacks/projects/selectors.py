"""Every stack at a glance; one that cannot be read says so and keeps none of the others from being shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from portal.core import places
from portal.runtime.errors import StackFileError, StackRuntimeError
from portal.stacks.models import Project, Stack
from portal.stacks.projects.adoption import as_json, projects_running
from portal.stacks.projects.reading import fault_of, not_granted
from portal.stacks.selectors import ServiceRow, stack_services

BUILT_IN = "built in"


@dataclass(frozen=True, slots=True)
class StackRow:
    """One stack: `condition` healthy, starting, unhealthy, stopped, failed, or unknown; `fault` where its files are
    wrong and how, or why nobody can tell how it is."""

    name: str
    kind: str
    place: str
    condition: str
    services: dict[str, int]
    fault: str
    release: int | None
    not_granted: list[str]

    @property
    def is_project(self) -> bool:
        """Somebody else's Compose project."""
        return self.kind != BUILT_IN

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        return f"{self.kind} {self.place}".strip()

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "from": self.origin}


WORST_FIRST = ("failed", "unhealthy", "starting", "stopped", "healthy")


def stack_rows() -> list[StackRow]:
    """All stacks, the product's own first."""
    stacks = Stack.objects.select_related("project").order_by("created_at")
    return [_row(stack) for stack in stacks]


def _row(stack: Stack) -> StackRow:
    project: Project | None = getattr(stack, "project", None)
    found, fault = services_or_fault(stack)
    states = Counter(service.state for service in found)
    condition = next((state for state in WORST_FIRST if states[state]), "unknown" if fault else "stopped")
    current = stack.releases.filter(state="current").first()
    return StackRow(
        name=stack.name,
        kind=project.kind if project else BUILT_IN,
        place=project.place if project else "",
        condition=condition,
        services=dict(states),
        fault=(told(project.fault) if project else "") or fault,
        release=current.number if current else None,
        not_granted=not_granted(project) if project else [],
    )


def services_or_fault(stack: Stack) -> tuple[list[ServiceRow], str]:
    """Its services, and why they cannot be told if so."""
    try:
        return stack_services(stack), ""
    except StackFileError as error:
        return [], told(fault_of(error))
    except StackRuntimeError as error:
        return [], error.message


def volumes_of(stack: Stack) -> list[str]:
    """The volumes that the stack's release made, by the names that Docker has for them; not those of others."""
    current = stack.releases.filter(state="current").first()
    found: dict[str, Any] = (yaml.safe_load(current.outline).get("volumes") or {}) if current else {}
    kept = {name: config or {} for name, config in found.items()}
    return [
        str(config.get("name") or f"{stack.name}_{name}") for name, config in kept.items() if not config.get("external")
    ]


def told(fault: dict[str, str]) -> str:
    """A fault of a file as a sentence, its place first; empty without one."""
    return f"{fault['place']}: {fault['message']}" if fault else ""


def running_rows() -> list[dict[str, Any]]:
    """Compose projects that run here and are no stack; none where there is no Docker, or it does not answer."""
    if not places.in_containers():
        return []
    try:
        return [as_json(found) for found in projects_running()]
    except StackRuntimeError:
        return []
