"""A whole installation in containers, as a user makes it: `manage.py up --runtime compose`, in a folder of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import docker_engine
from tests.support.docker_engine import Engine
from tests.support.product import Product, free_base

UP_SECONDS = 900


@dataclass(slots=True)
class DockerProduct(Product):
    """`name` is that of the stack and its Compose project."""

    engine: Engine | None = None
    name: str = "rag"

    @property
    def stack(self) -> Path:
        return self.var / "stacks" / self.name

    @property
    def portal(self) -> str:
        """The Compose project of the portal."""
        return f"{self.name}-portal"

    def docker(self, *words: str, check: bool = True) -> str:
        """Standard output of `docker ...`."""
        assert self.engine is not None
        return self.engine.docker(*words, check=check).stdout

    def containers(self, project: str) -> dict[str, dict[str, Any]]:
        """What `docker inspect` says of each container of a project, by service."""
        ids = self.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project}").split()
        found = json.loads(self.docker("inspect", *ids)) if ids else []
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def execute(self, project: str, service: str, *argv: str, check: bool = True) -> str:
        """Run a program in a container; its standard output."""
        return self.docker("exec", self.containers(project)[service]["Id"], *argv, check=check)

    def up(self, *words: str) -> dict[str, Any]:
        """`up` with containers and images built here; its answer."""
        given = ("--runtime", "compose", "--offline", "--name", self.name, "--port", str(self.port))
        return self.json("up", *given, *words, timeout=UP_SECONDS)


@contextmanager
def docker_installation(engine: Engine) -> Iterator[DockerProduct]:
    """An installation that is not started yet; nothing of it stays, on disk or in the engine."""
    var = Path(tempfile.mkdtemp(prefix="rkc-"))
    env = {key: value for key, value in engine.environ.items() if not key.startswith(("RAGKEEP", "DJANGO", "PYTEST"))}
    if authorities := docker_engine.authorities():
        env["RAGKEEP_CA"] = str(authorities)
    name = f"t{secrets.token_hex(3)}"
    product = DockerProduct(var, free_base(), {**env, "RAGKEEP_VAR": str(var)}, engine=engine, name=name)
    docker_engine.base_image(engine)
    try:
        yield product
    finally:
        if not os.environ.get("RAGKEEP_KEEP_TEST_STATE"):
            for project in (product.name, product.portal):
                engine.docker("compose", "-p", project, "down", "--volumes", "--timeout", "5", check=False)
            shutil.rmtree(var, ignore_errors=True)
