"""What stands in for Docker where pages of further stacks are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from portal.core import places
from portal.runtime.spec import StackSpec
from portal.stacks.projects import adoption, services
from tests.support.portal_scene import PlacedRuntime

LABELS = "com.docker.compose."
Patch = Callable[[object, str, Any], None]


class StandIn(PlacedRuntime):
    """No port of a stack is held by somebody else."""

    def taken_ports(self, spec: StackSpec) -> dict[int, str]:
        return {}


class Engine:
    """What the engine says runs here."""

    def __init__(self) -> None:
        self.running: list[dict[str, Any]] = []

    def containers(self, *filters: str) -> list[dict[str, Any]]:
        named = [one.partition("=")[2] for one in filters if "=" in one]
        return [one for one in self.running if not named or one["Labels"][f"{LABELS}project"] in named]


def container(project: str, service: str, folder: str = "/srv/blog", file: str = "") -> dict[str, Any]:
    """A container as the engine lists it, with what Compose writes on it."""
    found = {
        "project": project,
        "service": service,
        "project.working_dir": folder,
        "project.config_files": file or f"{folder}/compose.yaml",
    }
    return {"ImageID": "sha256:1", "Labels": {LABELS + name: value for name, value in found.items()}}


def stand_in(var: Path, patch: Patch) -> tuple[StandIn, Engine]:
    """Put both in the place of the real ones."""
    runtime, engine = StandIn(var), Engine()
    patch(places, "runtime", lambda: runtime)
    patch(places, "in_containers", lambda: True)
    of_projects = SimpleNamespace(docker=SimpleNamespace(engine=engine))
    for module in (adoption, services):
        patch(module, "compose_runtime", lambda: of_projects)
    return runtime, engine
