"""What was deployed last, so that the next plan can say what changed and not only that something did."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Kept:
    """One service as it was started last.

    `told_hash` is what `config --hash` said, `label_hash` what Compose then wrote on the container: they are computed
    in different places, and differ for services that share a network with another. `contents` are the digests of
    what it mounts.
    """

    config: Mapping[str, Any]
    told_hash: str
    label_hash: str
    contents: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Replacing:
    """A service whose new containers stand beside the old ones (ids); `passed` when it is the old ones that go."""

    old: tuple[str, ...]
    passed: bool = False


@dataclass(frozen=True, slots=True)
class Deployed:
    """`stopped` are the services that were told to stop since they were started; `replacing` those that somebody is
    replacing, or was when he died; `networks` are their definitions as they were made."""

    services: Mapping[str, Kept] = field(default_factory=dict)
    stopped: frozenset[str] = frozenset()
    replacing: Mapping[str, Replacing] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def started(self, fresh: Mapping[str, Kept]) -> Deployed:
        """The same after these were started."""
        return replace(self, services={**self.services, **fresh}, stopped=self.stopped - set(fresh))

    def without(self, names: set[str]) -> Deployed:
        """The same after these were removed."""
        kept = {name: kept for name, kept in self.services.items() if name not in names}
        return replace(self, services=kept, stopped=self.stopped - names)

    def connected(self, networks: Mapping[str, Mapping[str, Any]]) -> Deployed:
        """The same after these networks were made."""
        return replace(self, networks=networks)

    def told_to_stop(self, names: set[str]) -> Deployed:
        return replace(self, stopped=self.stopped | names)

    def beside(self, fresh: Mapping[str, Replacing]) -> Deployed:
        """The same while these are replaced."""
        return replace(self, replacing={**self.replacing, **fresh})

    def replaced(self, names: set[str]) -> Deployed:
        """The same after that came to its end, one way or the other."""
        return replace(self, replacing={name: one for name, one in self.replacing.items() if name not in names})


def load(file: Path) -> Deployed:
    """The record of a stack; an empty one when nothing was deployed."""
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Deployed()
    replacing = {name: Replacing(tuple(one["old"]), one["passed"]) for name, one in tree.get("replacing", {}).items()}
    services = {name: Kept(**kept) for name, kept in tree["services"].items()}
    return Deployed(services, frozenset(tree["stopped"]), replacing, tree.get("networks", {}))


def save(file: Path, record: Deployed) -> None:
    """Keep the record, readable by its owner alone; a reader never sees half of it."""
    tree = {
        "services": {name: asdict(kept) for name, kept in record.services.items()},
        "stopped": sorted(record.stopped),
        "replacing": {name: asdict(one) for name, one in record.replacing.items()},
        "networks": record.networks,
    }
    write_private(file, json.dumps(tree, indent=1) + "\n")


def write_private(file: Path, text: str | bytes, mode: int = 0o600) -> None:
    """Replace a file at once; its folder is made when it is missing, for the owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(text.encode() if isinstance(text, str) else text)
        sink.flush()
        os.fsync(sink.fileno())
    # The process's own mask may have taken bits away.
    fresh.chmod(mode)
    fresh.replace(file)
