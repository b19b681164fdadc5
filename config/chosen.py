"""What runs this installation, as `up` was told last. Standard library only: it decides before the environment exists.

Containers are started by whoever called, because an account without rights does not reach the Docker Engine; the
embedded runtime gives root's rights up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

FILE = Path("control") / "runtime.json"
EMBEDDED, COMPOSE = "embedded", "compose"
# These speak of containers alone.
CONTAINER_VERBS = ("dev", "prod")
DEVELOPMENT, PRODUCTION = "dev", "production"
DEFAULT_NAME = "rag"


@dataclass(frozen=True, slots=True)
class Chosen:
    """`name`: of the stack and its Compose project; `mode`: empty, development or production; `offline`: images are
    built without a registry; `overlays`: the Compose files read after stack.yaml."""

    runtime: str = EMBEDDED
    name: str = DEFAULT_NAME
    mode: str = ""
    offline: bool = False
    overlays: tuple[str, ...] = ()

    @property
    def in_containers(self) -> bool:
        return self.runtime == COMPOSE

    @property
    def portal_project(self) -> str:
        """The Compose project of the portal's own containers."""
        return "ragkeep-portal" if self.name == DEFAULT_NAME else f"{self.name}-portal"


PROCESSES = Chosen()


def read_chosen(var: Path) -> Chosen | None:
    """The choice; None before the first `up`, and where nobody ever chose: then processes run."""
    try:
        told = json.loads((var / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = {field.name for field in fields(Chosen)}
    found = {name: value for name, value in told.items() if name in known}
    return Chosen(**{**found, "overlays": tuple(found.get("overlays", ()))})


def write_chosen(var: Path, chosen: Chosen) -> None:
    """Remember it; a reader never sees half of it."""
    file = var / FILE
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(chosen)) + "\n", encoding="utf-8")
    fresh.chmod(0o644)
    fresh.replace(file)


def is_inside(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is itself in one of the portal's containers."""
    return environ.get("RAGKEEP_RUNTIME") == COMPOSE


def wants_containers(var: Path, argv: Sequence[str]) -> bool:
    """Whether a command line is about containers, of this installation or of one that it is to make."""
    words = list(argv)
    if words[:1] and words[0] in CONTAINER_VERBS:
        return True
    if "--runtime" in words[:-1]:
        return words[words.index("--runtime") + 1] == COMPOSE
    known = read_chosen(var)
    return f"--runtime={COMPOSE}" in words or (known is not None and known.in_containers)
