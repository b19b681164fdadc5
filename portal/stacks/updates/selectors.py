"""Reading what the last look at the registries found. Asks nobody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core import places
from portal.stacks.models import ImageLook, Stack
from portal.stacks.updates.services import next_look


@dataclass(frozen=True, slots=True)
class Updates:
    """What is known of a stack's images: the worst first; `looked_at` None before the first look, `next_at` None when
    nobody looks by itself."""

    looks: list[ImageLook]
    looked_at: datetime | None
    next_at: datetime | None

    @property
    def newer(self) -> int:
        """How many images have something newer."""
        return sum(look.is_newer for look in self.looks)

    @property
    def fetchable(self) -> list[ImageLook]:
        """Those that a deploy can fetch anew as they are named."""
        return [look for look in self.looks if look.newer_digest]


CONDITIONS = ("newer image", "newer version", "unknown", "current", "local")


def updates_of(stack: Stack) -> Updates | None:
    """What the last look found; None where services have no images."""
    if not places.runtime().features.images:
        return None
    looks = sorted(stack.image_looks.all(), key=lambda look: CONDITIONS.index(look.condition))
    looked_at = max((look.looked_at for look in looks), default=None)
    return Updates(looks, looked_at, next_look(stack) if stack.looks_daily else None)


def updates_summary(stack: Stack, found: Updates) -> dict[str, Any]:
    """The same as `--json` prints it."""
    return {
        "stack": stack.name,
        "daily": stack.looks_daily,
        "looked_at": found.looked_at.isoformat() if found.looked_at else None,
        "newer": found.newer,
        "images": [_summary(look) for look in found.looks],
    }


def _summary(look: ImageLook) -> dict[str, Any]:
    return {
        "image": look.reference,
        "services": look.services,
        "condition": look.condition,
        "digest": look.digest or None,
        "newer_digest": look.newer_digest or None,
        "newer_tag": look.newer_tag or None,
        "setting": look.setting or None,
        "interrupted": look.effect.get("interrupted", []),
        "touches": look.effect.get("touches", []),
        "fault": look.fault or None,
    }
