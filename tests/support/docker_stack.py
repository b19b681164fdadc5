"""Our Compose files on a real Docker Engine, without a registry: built, started as a project of their own, removed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from backups import process
from portal.runtime import ports
from tests.support import docker_engine
from tests.support.docker_engine import Engine
from tests.support.servers import REPO

FOLDER = REPO / "compose"
FILES = (FOLDER / "stack.yaml", FOLDER / "offline.yaml")
SECRETS = ("postgres_password", "redis_password", "internal_token", "admin_password")
# The group that the files of the secrets belong to, and every container that has one is in; only root may choose.
SECRETS_GROUP = 1000 if os.geteuid() == 0 else os.getegid()
BUILD_SECONDS = 1800
START_SECONDS = 400


@dataclass(frozen=True, slots=True)
class DockerStack:
    """A project of `docker compose` with secrets, volumes and ports of its own; `settings` are further variables."""

    engine: Engine
    project: str
    root: Path
    files: tuple[Path, ...]
    port: int
    portal_port: int
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """The variables of the Compose files."""
        return {
            "RAGKEEP_SECRETS": str(self.root / "secrets"),
            "RAGKEEP_PORT": str(self.port),
            "RAGKEEP_PORTAL_PORT": str(self.portal_port),
            "RAGKEEP_GID": str(SECRETS_GROUP),
            **self.settings,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *words: str, timeout: float = 300, check: bool = True, **env: str) -> process.Completed:
        """Run `docker compose ...` for this project."""
        files = [word for file in self.files for word in ("-f", str(file))]
        argv = ["compose", "--progress", "plain", *files, "-p", self.project, *words]
        return self.engine.docker(*argv, timeout=timeout, check=check, env={**self.environ, **env})

    def config(self) -> dict[str, Any]:
        """The project as Compose reads it."""
        read: dict[str, Any] = json.loads(self.compose("config", "--format", "json").stdout)
        return read

    def execute(self, service: str, *argv: str, check: bool = True) -> process.Completed:
        """Run a program in a service's container."""
        return self.compose("exec", "-T", service, *argv, check=check)

    def container(self, service: str) -> dict[str, Any]:
        """What `docker inspect` says of a service's container, running or not."""
        names = self.compose("ps", "--all", "--quiet", service).stdout.split()
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", *names).stdout)
        return found[0]

    def secret(self, name: str) -> str:
        return (self.root / "secrets" / name).read_text()

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client of the API through nginx, signed in as the administrator."""
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            login = {"email": "admin@ragkeep.local", "password": self.secret("admin_password")}
            token = client.post("/api/session", json=login).raise_for_status().json()["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield client


def build(engine: Engine, *services: str, files: tuple[Path, ...] = FILES, target: str | None = None) -> None:
    """Build the images of these services, or all; what did not change comes out of the engine's cache.

    Raises:
        ProcessError: a build failed.
    """
    docker_engine.base_image(engine)
    authorities = docker_engine.authorities()
    env = {"RAGKEEP_CA": str(authorities)} if authorities else {}
    argv = [word for file in files for word in ("-f", str(file))]
    engine.docker("compose", "--progress", "plain", *argv, "build", *services, timeout=BUILD_SECONDS, env=env)


def new_stack(engine: Engine, root: Path, *, files: tuple[Path, ...] = FILES, project: str = "") -> DockerStack:
    """A project with secrets below `root` and free ports; nothing is started."""
    port, portal_port = ports.free_ports(2)
    stack = DockerStack(engine, project or f"test-{secrets.token_hex(4)}", root, files, port, portal_port)
    folder = root / "secrets"
    folder.mkdir(parents=True)
    for name in SECRETS:
        path = folder / name
        path.write_text(secrets.token_urlsafe(24))
        path.chmod(0o640)
        shutil.chown(path, group=SECRETS_GROUP)
    return stack


@contextmanager
def started(stack: DockerStack, *services: str) -> Iterator[DockerStack]:
    """Start the project, wait until it is healthy, and remove it with its volumes at the end."""
    try:
        stack.compose("up", "--detach", "--wait", "--no-build", *services, timeout=START_SECONDS)
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "5", timeout=120)


CONFINED = {"root": False, "read-only": True, "drops": ["ALL"], "options": ["no-new-privileges:true"], "limits": True}


def confinement(found: Mapping[str, Any]) -> dict[str, object]:
    """How a container is confined, of what `docker inspect` tells; `CONFINED` for one of ours."""
    host = found["HostConfig"]
    return {
        "root": found["Config"]["User"].startswith("0"),
        "read-only": host["ReadonlyRootfs"],
        "drops": host["CapDrop"],
        "options": host["SecurityOpt"],
        "limits": 0 < host["PidsLimit"] <= 500 and host["Memory"] > 0,
    }
