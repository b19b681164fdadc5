"""Where a stack in containers is, for those who are containers themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from portal.runtime.translate import Location

VOLUMES = Path("/data")


@dataclass(frozen=True, slots=True)
class _Inside(Location):
    """A stack by the names of its services: ports are the ones inside."""

    @classmethod
    def of(cls, location: Location) -> Self:
        """The same stack, seen from there."""
        return cls(**{field.name: getattr(location, field.name) for field in fields(Location)})

    def port(self, service: str, inside: int | None = None) -> int:
        return inside if inside is not None else next(iter(self.ports[service]))


@dataclass(frozen=True, slots=True)
class Linked(_Inside):
    """As the portal's containers see it, over the network that they share with api and nginx of every stack."""

    def host(self, service: str) -> str:
        return f"{self.project}-{service}"


@dataclass(frozen=True, slots=True)
class Joined(_Inside):
    """As a container sees it that joins the stack's own network and has its volumes below /data."""

    def host(self, service: str) -> str:
        return service

    def volume(self, name: str) -> Path:
        return VOLUMES / name
