"""What can go of a Docker Engine: only what was made here, and what nothing uses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from portal.cleanup.pieces import Piece, Sort
from portal.runtime.compose.client import Docker
from portal.runtime.compose.containers import PROJECT

# The names of images that are built here, and the further name of those that a kept release needs.
OURS, KEPT = "ragkeep/", "ragkeep/kept:"
THROW_AWAY = "drill-"


def images(docker: Docker, projects: Collection[str], needed: Collection[str]) -> Iterator[Piece]:
    """Images that were built for these projects, that no container has (running or not), no kept release and nothing
    that is deployed next.

    Args:
        needed: names of images that the stack's files name now, or that agents are made of.
    """
    used = {container["ImageID"] for container in docker.engine.containers()}
    for image in docker.engine.get("/images/json", **{"shared-size": 1}) or []:
        if image["Id"] not in used and is_left(image, projects, needed):
            yield Piece(Sort.IMAGES, image["Id"], name_of(image), freed(image))


def is_left(image: Mapping[str, Any], projects: Collection[str], needed: Collection[str]) -> bool:
    """Whether an image that no container has was made here and is needed no more."""
    names = [*_names(image), *(image.get("RepoDigests") or [])]
    if any(name.startswith(KEPT) or name in needed for name in names) or image["Id"] in needed:
        return False
    made_for = (image.get("Labels") or {}).get(PROJECT)
    return made_for in projects or any(name.startswith(OURS) for name in names)


def _names(image: Mapping[str, Any]) -> list[str]:
    return [name for name in image.get("RepoTags") or [] if name != "<none>:<none>"]


def name_of(image: Mapping[str, Any]) -> str:
    return ", ".join(_names(image)) or f"{str(image['Id']).removeprefix('sha256:')[:12]} (lost its name)"


def freed(image: Mapping[str, Any]) -> int:
    """Bytes that only this image has."""
    shared = int(image.get("SharedSize", -1))
    return max(0, int(image["Size"]) - max(0, shared))


def volumes(docker: Docker, projects: Collection[str]) -> Iterator[Piece]:
    """Volumes of throw-away stacks that are gone; never one of a stack.

    Args:
        projects: throw-away stacks that are still at work.
    """
    told = docker.engine.get("/volumes") or {}
    for volume in told.get("Volumes") or []:
        project = (volume.get("Labels") or {}).get(PROJECT, "")
        if project.startswith(THROW_AWAY) and project not in projects:
            usage = volume.get("UsageData") or {}
            size = int(usage.get("Size", -1))
            yield Piece(Sort.VOLUMES, volume["Name"], volume["Name"], size if size >= 0 else None)


def remove(docker: Docker, piece: Piece) -> None:
    """Remove it, unless something has come to use it meanwhile.

    Raises:
        ComposeFailedError: the engine did not.
    """
    # An image by its id goes only with all its names, unless a container has it.
    words = ["image", "rm", "--force"] if piece.sort is Sort.IMAGES else ["volume", "rm"]
    docker.run(["docker", *words, piece.key])
