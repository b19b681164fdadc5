"""What a Compose that was killed while it replaced a container leaves behind. Pure.

It creates the new container beside the old one under a name of its own, stops and removes the old one, and only then
gives the new one its name. Left half way, the new container blocks every later attempt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from portal.runtime.compose.containers import Container

BESIDE = re.compile(r"[0-9a-f]{12}_(?P<name>.+)")


def surplus(found: Sequence[Container]) -> list[Container]:
    """New containers that were never started, while the one they were to replace is still there."""
    return [one for one in found if _is_unfinished(one) and any(_same_place(one, other) for other in found)]


def _is_unfinished(container: Container) -> bool:
    return container.phase == "created" and BESIDE.fullmatch(container.name) is not None


def _same_place(one: Container, other: Container) -> bool:
    return one.id != other.id and (one.service, one.number) == (other.service, other.number)


def names(found: Collection[Container]) -> dict[str, str]:
    """The names that new containers still have to be given: id -> name. What they replace is gone."""
    matches = {one.id: BESIDE.fullmatch(one.name) for one in found}
    return {container: match["name"] for container, match in matches.items() if match is not None}
