"""The further sources of one set, carried through its steps together."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

from backups.extra import ExtraSpec
from backups.job import Job
from backups.manifest import Extra
from backups.seconds import SourceSeconds
from backups.sources.further import folder_of, open_sources
from backups.sources.source import Part, Source


class FurtherParts:
    """The further sources that a set takes. `parts` are there after `verify`."""

    def __init__(self, job: Job, staging: Path, seconds: SourceSeconds) -> None:
        self._staging, self._seconds = staging, seconds
        self._specs: list[ExtraSpec] = [
            spec for spec in job.require_stack().extra if job.sources is None or spec.name in job.sources
        ]
        self._sources: dict[str, Source] = open_sources(self._specs, job)
        self.parts: dict[str, Part] = {}

    def check(self) -> int:
        """Prove that every source is there; returns the bytes of staging they need."""
        return sum(source.check() for source in self._sources.values())

    def prepare(self) -> None:
        for name, source in self._sources.items():
            folder = folder_of(self._staging, name)
            folder.mkdir(parents=True)
            with self._seconds.of(name):
                source.prepare(folder)

    def freeze(self) -> None:
        for source in self._sources.values():
            source.freeze()

    def dump(self) -> None:
        for name, source in self._sources.items():
            with self._seconds.of(name):
                source.dump(folder_of(self._staging, name))

    def verify(self) -> None:
        for name, source in self._sources.items():
            with self._seconds.of(name):
                self.parts[name] = source.verify(folder_of(self._staging, name))

    def close(self) -> None:
        for source in self._sources.values():
            source.close()

    @property
    def live(self) -> dict[str, Path]:
        """The folders that restic reads in place."""
        return {name: part.live for name, part in self.parts.items() if part.live is not None}

    @property
    def missing(self) -> list[str]:
        return [f"{name}: {line}" for name, part in self.parts.items() for line in part.missing]

    def extras(self) -> tuple[Extra, ...]:
        """The sources as set.json names them."""
        return tuple(
            Extra(spec.name, spec.kind, part.taken_at.astimezone(UTC), part.in_freeze, part.origin)
            for spec in self._specs
            if (part := self.parts.get(spec.name))
        )
