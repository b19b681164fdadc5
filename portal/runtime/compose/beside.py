"""A program that runs in a container of its own beside a stack: with its volumes, in its networks, until it ends.

Its standard input ends with whoever started it, so it notices when that dies. The commands are pure functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backups.process import Running
from portal.runtime.compose.argv import DOCKER, remove
from portal.runtime.compose.client import Docker
from portal.runtime.compose.containers import PROJECT

VOLUME = "com.docker.compose.volume"


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder or file of the engine's host, at the same path inside."""

    path: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Beside:
    """What is to run. `networks`: the first one it is created in, the others it joins before it starts; `volumes` maps
    a volume's name for the engine to the path inside; `memory` as Docker takes it."""

    name: str
    image: str
    command: tuple[str, ...]
    networks: tuple[str, ...]
    volumes: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: str = "2g"


def create(wanted: Beside) -> list[str]:
    """Make the container. It is removed when it ends."""
    words = [DOCKER, "create", "--rm", "--interactive", "--init", "--pull", "never", "--name", wanted.name]
    words += ["--user", "1000:1000", "--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL"]  # noqa: S108
    words += ["--security-opt", "no-new-privileges:true", "--pids-limit", "400", "--memory", wanted.memory]
    words += [
        "--log-driver",
        "none",
        "--no-healthcheck",
        "--network",
        wanted.networks[0] if wanted.networks else "none",
    ]
    for name, value in wanted.labels.items():
        words += ["--label", f"{name}={value}"]
    for name, value in wanted.environment.items():
        words += ["--env", f"{name}={value}"]
    for volume, path in wanted.volumes.items():
        words += ["--mount", f"type=volume,source={volume},target={path}"]
    for bind in wanted.binds:
        words += ["--mount", _bind(bind)]
    return [*words, wanted.image, *wanted.command]


def _bind(bind: Bind) -> str:
    # The engine reads these words as a line of CSV.
    path = bind.path.replace('"', '""')
    quoted = [f'"{part}={path}"' for part in ("source", "target")]
    return ",".join(["type=bind", *quoted, *([] if bind.writable else ["readonly"])])


def join(network: str, name: str) -> list[str]:
    return [DOCKER, "network", "connect", network, name]


def start(name: str) -> list[str]:
    """Start it with our own standard streams."""
    return [DOCKER, "start", "--attach", "--interactive", name]


def kill(name: str) -> list[str]:
    return [DOCKER, "kill", name]


def make_volume(project: str, volume: str) -> list[str]:
    """Make a volume as Compose would, so that it is known as the project's own."""
    return [
        DOCKER, "volume", "create", "--label", f"{PROJECT}={project}", "--label", f"{VOLUME}={volume}",
        f"{project}_{volume}",
    ]  # fmt: skip


class ContainerRunning(Running):
    """The container as a process that is read line by line; it is gone when the block ends.

    Raises:
        ComposeFailedError: it could not be made, for example because a folder of the host is not there.
    """

    def __init__(self, docker: Docker, wanted: Beside) -> None:
        self._docker, self._name = docker, wanted.name
        docker.run(create(wanted))
        try:
            for network in wanted.networks[1:]:
                docker.run(join(network, wanted.name))
            super().__init__(start(wanted.name), env=docker.environment({}), cwd="/")
        except BaseException:
            self._remove()
            raise

    def kill(self) -> None:
        """End it now; the command that follows it ends with it."""
        self._docker.run(kill(self._name), check=False)

    def __exit__(self, *about: object) -> None:
        # What it was killed for must not go on in the container.
        try:
            super().__exit__(*about)
        finally:
            self._remove()

    def _remove(self) -> None:
        self._docker.run(remove([self._name]), check=False)


def ensure_volumes(docker: Docker, project: str, volumes: Sequence[str]) -> None:
    """Make the volumes of a stack that has not been started yet; those that exist stay as they are."""
    for volume in volumes:
        docker.run(make_volume(project, volume))


def networks_of(docker: Docker, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of these networks that exist."""
    filters = json.dumps({"name": list(wanted)})
    known = {network["Name"] for network in docker.engine.get("/networks", filters=filters)}
    return tuple(name for name in wanted if name in known)


def remove_labelled(docker: Docker, *labels: str) -> list[str]:
    """Remove every container with all of these labels; returns those that are still there afterwards."""
    found = [container["Id"] for container in docker.engine.containers(*labels)]
    if found:
        docker.run(remove(found), check=False)
    return [container["Id"] for container in docker.engine.containers(*labels)]
