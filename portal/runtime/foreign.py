"""A Compose project that is not the product's own, as far as something must be known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Foreign:
    """A project of somebody else.

    Attributes:
        files: its Compose files, relative to its folder; the first one's folder is what paths start from.
        env_files: its files of variables, likewise.
        profiles: those that are active.
        home: where it lies on the engine's host if that is not our copy: relative mounts lead there.
        services: name -> title, as of the last time its files could be read.
        once: those of them that run to their end.
    """

    files: tuple[str, ...]
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    home: str = ""
    services: Mapping[str, str] = field(default_factory=dict)
    once: tuple[str, ...] = ()
