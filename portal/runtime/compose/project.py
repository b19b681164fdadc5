"""A stack as a Compose project: where its files are, and what it needs of this host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from portal.runtime.spec import ServiceSpec, StackSpec
from portal.runtime.state import StackState
from portal.runtime.translate import Location


@dataclass(frozen=True, slots=True)
class View:
    """A stack as it is to run here; `services` are those that are active with its settings."""

    spec: StackSpec
    state: StackState
    location: Location
    services: Mapping[str, ServiceSpec]

    @property
    def folder(self) -> Path:
        """What this runtime keeps about the stack; for its owner alone."""
        return self.location.root / "compose"

    @property
    def file(self) -> Path:
        """The rendered project as Compose was given it last."""
        return self.folder / "compose.json"

    @property
    def key(self) -> Path:
        return self.folder / "digest.key"

    @property
    def record(self) -> Path:
        return self.folder / "deployed.json"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the stack's containers."""
        return self.folder / "lock"

    @property
    def source(self) -> Path:
        """The stack file; Compose is started elsewhere."""
        return self.spec.file.resolve()

    @property
    def files(self) -> list[Path]:
        """The stack file and its overlays."""
        return [self.source, *(overlay.resolve() for overlay in self.spec.overlays)]

    def handed_out(self, secret: str) -> Path:
        """The copy of a secret that containers mount."""
        return self.folder / "secrets" / secret


def read_tree(file: Path) -> Mapping[str, Any]:
    """A Compose file as it was written; empty when it is gone or no mapping."""
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return tree if isinstance(tree, dict) else {}


def described_services(tree: Mapping[str, Any]) -> dict[str, str]:
    """The services that the stack file itself describes, with what people call them."""
    found = tree.get("services") or {}
    return {name: ((config or {}).get("x-ragkeep") or {}).get("title", name) for name, config in found.items()}
