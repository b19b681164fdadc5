"""What was looked at, and who is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import Happening, Runtime
from portal.runtime.spec import StackSpec
from portal.runtime.translate import Location

OK, WARNING, ERROR = "ok", "warning", "error"
WORST_FIRST = (ERROR, WARNING, OK)


class Placed(Runtime, Protocol):
    """A runtime that also knows ports and places of this host."""

    def taken_ports(self, spec: StackSpec) -> dict[int, str]:
        """Ports that the stack wants and somebody else holds: port -> a few words about who."""
        ...

    def locate(self, spec: StackSpec) -> Location: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is empty when it is well, `fix` names what `portal.doctor.fixes` can do
    about it."""

    name: str
    state: str
    message: str
    remedy: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: an installation, where it is, and what runs it.

    Attributes:
        groups: the control plane (where it is processes of this host) and the stacks.
        hosts: names that must be found, e.g. of a repository's server.
        base_port: lowest port of the installation; None where nobody chose one yet.
        unread: what is wrong with the files of stacks that cannot be read, and so are not among the groups.
        recorded: what services did by themselves in the last day, by stack, as far as the portal wrote it down.
    """

    paths: RuntimePaths
    runtime: Placed
    groups: Sequence[StackSpec]
    hosts: Sequence[str] = ()
    base_port: int | None = None
    certificates: Path | None = None
    unread: Sequence[Finding] = ()
    recorded: Mapping[str, Sequence[Happening]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def in_containers(self) -> bool:
        return self.runtime.features.images
