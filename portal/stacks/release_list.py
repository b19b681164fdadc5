"""Reading releases: the list, and what a roll-back to one of them would mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portal.operations.errors import OperationRefused
from portal.operations.registry import kind_get
from portal.stacks.models import Release, ReleaseState, Stack
from portal.stacks.pending import is_project
from portal.stacks.releases import release_current
from portal.stacks.rollback import schema_obstacle, set_of


@dataclass(frozen=True, slots=True)
class Way:
    """One way of rolling back: why it is not open (else empty), what to do instead, the set that comes with it."""

    obstacle: str = ""
    remedy: str = ""
    set_id: str = ""


def releases_of(stack: Stack) -> list[Release]:
    """All that are kept, newest first."""
    return list(stack.releases.select_related("author", "operation"))


def release_summary(release: Release) -> dict[str, Any]:
    """A release as `--json` prints it."""
    return {
        "release": release.number,
        "state": release.state,
        "runtime": release.runtime,
        "author": release.author_name,
        "note": release.note,
        "created_at": release.created_at.isoformat(),
        "deployed_at": release.deployed_at.isoformat() if release.deployed_at else None,
        "images": release.images,
        "settings": sorted(release.environment),
        "schema": release.schema.get("code"),
        "set_before": release.set_before or None,
        "failure": release.failure or None,
        "operation": str(release.operation_id) if release.operation_id else None,
    }


def way_of_code(release: Release) -> Way:
    """Whether the code alone can go back to this release."""
    current = release_current(release.stack)
    if obstacle := _never(release) or schema_obstacle(release, current.schema if current else {}):
        return Way(obstacle, "Roll back code and data together.")
    return Way()


def way_of_data(release: Release) -> Way:
    """Whether code and data can go back together, and with which set."""
    if obstacle := _never(release):
        return Way(obstacle)
    if is_project(release.stack.name):
        return Way("Data of such a stack is in no backup set.")
    try:
        found = set_of(release)
        kind_get("restore").check(release.stack.target, {"set": found})
    except OperationRefused as refused:
        return Way(refused.message, refused.remedy)
    return Way(set_id=found)


def _never(release: Release) -> str:
    if release.state == ReleaseState.CURRENT:
        return "It serves now."
    return "" if release.state == ReleaseState.KEPT else "It never served."
