"""Reads a folder of the engine's host for a process that sees none of it: through a container that never runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portal.runtime.compose import argv
from portal.runtime.compose.client import Docker
from portal.runtime.errors import ComposeFailedError, StackRuntimeError

INSIDE = "/from"
COPY_SECONDS = 300.0


def create_command(folder: str, image: str) -> list[str]:
    """Make the container: the folder is mounted, read-only, and nothing is ever started."""
    mount = f"type=bind,source={folder},target={INSIDE},readonly"
    return [
        argv.DOCKER,
        "create",
        "--pull",
        "never",
        "--network",
        "none",
        "--mount",
        mount,
        "--entrypoint",
        "true",
        image,
    ]


def copy_command(container: str, inner: str, target: Path) -> list[str]:
    return [argv.DOCKER, "cp", f"{container}:{INSIDE}/{inner}", str(target)]


@dataclass(frozen=True, slots=True)
class HostFolder:
    """A folder of the engine's host."""

    docker: Docker
    container: str

    def copy(self, inner: str, target: Path) -> bool:
        """Copy what lies below it, links as links; False when it is not there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.docker.run(copy_command(self.container, inner, target), timeout=COPY_SECONDS)
        except ComposeFailedError as error:
            if "ould not find the file" in error.said or "o such" in error.said:
                return False
            raise
        return True


@contextmanager
def host_folder(docker: Docker, folder: str, image: str) -> Iterator[HostFolder]:
    """The folder as long as the block lasts.

    Args:
        image: any one that is on the host.

    Raises:
        StackRuntimeError: there is no such folder.
    """
    if "," in folder or '"' in folder:
        raise StackRuntimeError(f"{folder} cannot be mounted: its name has a comma or a quotation mark", "rename it")
    try:
        made = docker.run(create_command(folder, image), timeout=COPY_SECONDS)
    except ComposeFailedError as error:
        said = error.said.splitlines()[-1:] or [error.message]
        raise StackRuntimeError(
            f"{folder} cannot be read on the engine's host: {said[0]}", "look at its name"
        ) from None
    container = made.stdout.strip()
    try:
        yield HostFolder(docker, container)
    finally:
        docker.run(argv.remove([container]), check=False)
