"""What two releases differ in, without a value that nobody is to see."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass
from typing import Any

from portal.stacks.models import Release
from portal.stacks.plans import compared

CONTEXT_LINES = 2


@dataclass(frozen=True, slots=True)
class ReleaseDiff:
    """From one release to another; every mapping leaves out what is the same.

    Attributes:
        settings: name -> added, removed or changed.
        services: name -> added or removed.
        images: service -> what it had and what it has, each with `reference` and `id`.
        files: service -> name of what it mounts -> added, removed or changed.
        lines: the deployed files as a unified diff, values of variables by digest.
    """

    before: int
    after: int
    settings: dict[str, str]
    services: dict[str, str]
    images: dict[str, dict[str, dict[str, str]]]
    files: dict[str, dict[str, str]]
    lines: list[str]

    @property
    def is_empty(self) -> bool:
        return not (self.settings or self.services or self.images or self.files or self.lines)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def release_diff(before: Release, after: Release) -> ReleaseDiff:
    """What changed from `before` to `after`."""
    both = [name for name in after.contents if name in before.contents]
    files = {name: compared(before.contents[name], after.contents[name]) for name in both}
    return ReleaseDiff(
        before=before.number,
        after=after.number,
        settings=compared(before.environment, after.environment),
        services=compared(dict.fromkeys(before.contents, ""), dict.fromkeys(after.contents, "")),
        images=_images(before, after),
        files={name: found for name, found in files.items() if found},
        lines=_lines(before, after),
    )


def _images(before: Release, after: Release) -> dict[str, dict[str, dict[str, str]]]:
    both = [name for name in after.images if name in before.images]
    pairs = {name: {"before": before.images[name], "after": after.images[name]} for name in both}
    return {name: pair for name, pair in pairs.items() if pair["before"] != pair["after"]}


def _lines(before: Release, after: Release) -> list[str]:
    told = difflib.unified_diff(
        before.outline.splitlines(),
        after.outline.splitlines(),
        f"release {before.number}",
        f"release {after.number}",
        lineterm="",
        n=CONTEXT_LINES,
    )
    return list(told)
