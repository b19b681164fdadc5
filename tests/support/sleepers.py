"""Small projects of containers that do nothing, on a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.paths import RuntimePaths
from portal.runtime.spec import StackSpec
from tests.support import tiny_stack
from tests.support.docker_engine import Engine

SLEEP = ["sleep", "infinity"]
# Applies a stack in a process that can be killed.
APPLY = """
import sys
from pathlib import Path
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.paths import CHECKOUT, RuntimePaths
from portal.runtime.spec import load_stack
var, file, project, host, config = sys.argv[1:]
ComposeRuntime(RuntimePaths(Path(var)), Docker(host, Path(config))).apply(load_stack(Path(file), project=project))
"""


@pytest.fixture(scope="module")
def runtime(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> ComposeRuntime:
    tiny_stack.build_image(engine)
    return ComposeRuntime(RuntimePaths(tmp_path_factory.mktemp("var")), Docker(engine.host, engine.config))


@pytest.fixture
def project(runtime: ComposeRuntime, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    name = f"c{abs(hash(request.node.name)) % 10**8}"
    yield name
    runtime.remove(stack(tmp_path, name, a=sleeper()), data=True)


def sleeper(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any key of a service
    """A service that does nothing, and ends at once when told to."""
    return {"image": tiny_stack.IMAGE, "command": SLEEP, "init": True, **changes}


def stack(folder: Path, project: str, **services: dict[str, Any]) -> StackSpec:
    """A stack of these services, its file in `folder`."""
    return tiny_stack.written({"name": "tiny", "services": services}, folder, project)


def ids(engine: Engine, project: str) -> dict[str, list[str]]:
    """The containers of a project, stopped ones too, by service."""
    template = '{{.Label "com.docker.compose.service"}} {{.ID}}'
    label = f"label=com.docker.compose.project={project}"
    found: dict[str, list[str]] = {}
    for line in engine.docker("ps", "--all", "--filter", label, "--format", template).stdout.splitlines():
        found.setdefault(line.split()[0], []).append(line.split()[1])
    return found


# --- what reaches a container, and what does not
