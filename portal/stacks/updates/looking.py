"""Looking: for each image that serves, what its registry has by now. Runs where the Docker Engine may be asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from portal.core import places
from portal.runtime.compose import registry
from portal.runtime.compose.client import Docker
from portal.runtime.compose.registry import RegistryError, built_or_named
from portal.runtime.protocol import Rendered
from portal.stacks.models import Stack
from portal.stacks.releases import release_current, rendered_of
from portal.stacks.updates.lines import newest_of_line, version_of

# Registries that cannot be reached are waited for at the same time.
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Serving:
    """An image that serves: its name, the services that have it, and the digests by which a registry knows it; none for
    one that was built or loaded here."""

    reference: str
    services: tuple[str, ...]
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What a registry told of an image: the digest under its name, the newest tag of its line, and what it did not
    tell. The tag is empty when none is newer."""

    digest: str = ""
    newest: str = ""
    fault: str = ""


def serving(stack: Stack, docker: Docker) -> list[Serving]:
    """The images of the release that serves; of what the files say before there is one.

    Raises:
        StackRuntimeError: the engine does not answer, or the files are not what can be run.
        OperationRefused: the release cannot be read.
    """
    release = release_current(stack)
    deployed = rendered_of(release) if release else places.runtime().rendered(places.stack_spec(stack.name))
    return [
        Serving(reference, services, _digests(docker, deployed.images[services[0]]))
        for reference, services in images_of(deployed).items()
    ]


def images_of(deployed: Rendered) -> dict[str, tuple[str, ...]]:
    """The services by the image that they name and have; without those whose image is built here."""
    found: dict[str, tuple[str, ...]] = {}
    services: Mapping[str, Any] = json.loads(deployed.text)["services"]
    for name, config in services.items():
        reference = built_or_named(config)
        if reference and name in deployed.images:
            found[reference] = (*found.get(reference, ()), name)
    return found


def _digests(docker: Docker, pinned: str) -> tuple[str, ...]:
    recorded = pinned.partition("@")[2]
    # The same image may have got another digest by being pushed elsewhere or in another format.
    return tuple(dict.fromkeys([recorded, *registry.digests_here(docker, pinned)])) if recorded else ()


def ask(docker: Docker, images: list[Serving]) -> list[Told]:
    """What the registries tell of these, in their order; of one that no registry knows, nothing is asked."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda image: _ask(docker, image) if image.digests else Told(), images))


def _ask(docker: Docker, image: Serving) -> Told:
    digest, newest, faults = "", "", list[str]()
    tag = registry.Reference.parse(image.reference).tag
    try:
        # A name that holds a digest can stand for nothing else.
        digest = "" if "@" in image.reference else registry.digest(docker, image.reference)
    except RegistryError as error:
        faults.append(error.message)
    try:
        newest = newest_of_line(tag, registry.tags(docker, image.reference)) if version_of(tag) else ""
    except RegistryError as error:
        faults.append(error.message)
    return Told(digest, newest, "; ".join(faults))
