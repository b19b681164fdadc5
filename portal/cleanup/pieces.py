"""One thing that can go."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Sort(StrEnum):
    """What can be cleaned up."""

    IMAGES = "images"
    VOLUMES = "volumes"
    LOGS = "logs"
    WORK = "work"


TITLES = {
    Sort.IMAGES: "Images that no container and no kept release uses",
    Sort.VOLUMES: "Volumes of throw-away stacks",
    Sort.LOGS: "Logs that were rotated away",
    Sort.WORK: "Work folders of operations that ended long ago",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """`key` names it for whoever removes it: a path, or what the engine calls it. `bytes` is what removing it frees,
    None where nobody can tell."""

    sort: Sort
    key: str
    name: str
    bytes: int | None
