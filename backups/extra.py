"""The further sources of a stack as a job names them; backups.sources.further says what can be one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from backups.errors import JobInvalid
from backups.fields import Fields

OWN_SOURCES = ("documents", "vectors", "models", "postgres", "config")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class ExtraSpec:
    """A further source. `settings`: what its kind asks for; `at`: where it stands in the job, for errors."""

    name: str
    kind: str
    settings: dict[str, Any]
    at: str

    @property
    def fields(self) -> Fields:
        return Fields(self.settings, self.at)


def read_extra(fields: Fields) -> tuple[ExtraSpec, ...]:
    """The value of `extra`; absent means none.

    Raises:
        JobInvalid: a name is none, is taken, or belongs to a source that every stack has.
    """
    found = tuple(_read(part) for part in fields.sections("extra")) if fields.has("extra") else ()
    names = [spec.name for spec in found]
    for spec in found:
        if spec.name in OWN_SOURCES or names.count(spec.name) > 1:
            raise JobInvalid(f"{spec.at}.name: {spec.name!r} is the name of another source of this stack")
    return found


def read_chosen(fields: Fields, known: tuple[str, ...]) -> tuple[str, ...] | None:
    """The value of `sources`: the names a set is restricted to, in the order of `known`; None for all of them.

    Raises:
        JobInvalid: one of them is no source of the stack, or there is none.
    """
    if not fields.has("sources"):
        return None
    named = fields.texts("sources")
    for index, name in enumerate(named):
        if name not in known:
            raise JobInvalid(f"{fields.path}.sources[{index}]: expected one of {', '.join(known)}, got {name[:40]!r}")
    if not named:
        raise JobInvalid(f"{fields.path}.sources: expected the name of at least one source, got none")
    chosen = tuple(name for name in known if name in named)
    return None if chosen == known else chosen


def _read(fields: Fields) -> ExtraSpec:
    name = fields.filled("name")
    if not _NAME.fullmatch(name):
        raise JobInvalid(f"{fields.path}.name: expected small letters, digits, - and _, got {name[:40]!r}")
    return ExtraSpec(name, fields.filled("kind"), fields.values(), fields.path)
