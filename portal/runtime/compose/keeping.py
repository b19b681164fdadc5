"""Further names for images that a release needs, so that nobody's clean-up takes them for left over."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from portal.runtime.compose.client import Docker

DOCKER = "docker"


def tag(reference: str, name: str) -> list[str]:
    """Give an image one more name."""
    return [DOCKER, "tag", reference, name]


def untag(names: Collection[str]) -> list[str]:
    """Take names away; an image goes only when it had no other one and nothing runs it."""
    return [DOCKER, "rmi", *names]


def keep(docker: Docker, images: Mapping[str, str]) -> None:
    """Give each image a further name: name -> the image by what names it for good.

    Raises:
        ComposeFailedError: one is not here.
    """
    for name, reference in images.items():
        docker.run(tag(reference, name))


def let_go(docker: Docker, names: Collection[str]) -> None:
    """Take these names away; one that is gone already, or whose image something still runs, is no fault.

    An image that has no other name goes, also when a registry knows it.
    """
    for name in names:
        found = docker.engine.get(f"/images/{name}/json") or {}
        if found:
            docker.run(untag([name]), check=False)
        if found.get("RepoTags") == [name]:
            # What a registry knows it by would keep it, though nobody can see it by a name.
            for digest in found.get("RepoDigests") or []:
                docker.run(untag([digest]), check=False)
