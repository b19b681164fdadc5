"""What somebody who was killed while he replaced containers leaves behind. Pure.

Compose creates the new container beside the old one under a name of its own, stops and removes the old one, and only
then gives the new one its name. Left half way, the new container blocks every later attempt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from portal.runtime.compose.containers import Container
from portal.runtime.compose.record import Replacing

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


def leaving(found: Collection[Container], replacing: Mapping[str, Replacing]) -> list[Container]:
    """Of containers that stand beside each other those that have to go.

    The new ones, until they have proven themselves; then the old ones.
    """
    going: list[Container] = []
    for name, record in replacing.items():
        old = [one for one in found if one.service == name and one.id in record.old]
        new = [one for one in found if one.service == name and one.id not in record.old]
        stays = new if record.passed and new else old
        going += [one for one in (*old, *new) if stays and one not in stays]
    return going
