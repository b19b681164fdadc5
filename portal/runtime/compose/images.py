"""Gets what is missing before anything is stopped: built where the stack says how, otherwise pulled."""

from __future__ import annotations

from collections.abc import Collection

from portal.runtime.compose import argv
from portal.runtime.compose.client import Docker
from portal.runtime.compose.project import View
from portal.runtime.compose.render import image
from portal.runtime.compose.rendering import Rendering
from portal.runtime.errors import ComposeFailedError, ImageMissingError
from portal.runtime.protocol import Report, ServiceStatus, State

# Built where the stack says how, pulled by name, or fetched by the digest that a release kept.
VERBS = {"build": "building", "pull": "fetching", "fetch": "fetching"}


def provide(docker: Docker, view: View, found: Rendering, names: Collection[str], report: Report | None) -> None:
    """Have every image of these services on this host; however long that takes.

    Raises:
        ImageMissingError: one could neither be pulled nor built.
    """
    missing = [name for name in names if not found.wanted[name].image_id]
    ways = {name: _way(view, found, name) for name in missing}
    said = ""
    for way, verb in VERBS.items():
        group = [name for name in missing if ways[name] == way]
        for name in group:
            _tell(report, found, name, f"{verb} {found.wanted[name].image}")
        if group:
            said += _run(docker, view, found, group, way)
    lost = {name: found.wanted[name].image for name in missing}
    lost = {name: reference for name, reference in lost.items() if not docker.engine.image_id(reference)}
    if lost:
        raise ImageMissingError(lost, said)


def _way(view: View, found: Rendering, name: str) -> str:
    wanted = found.wanted[name]
    if wanted.image != image(view.spec.project, name, wanted.config):
        return "fetch"
    return "build" if wanted.config.get("build") else "pull"


def _tell(report: Report | None, found: Rendering, name: str, detail: str) -> None:
    if report is not None:
        report(ServiceStatus(name, found.scope.services[name].title, State.STARTING, detail))


def _run(docker: Docker, view: View, found: Rendering, names: Collection[str], way: str) -> str:
    """Get the images; what is said when that fails. Whether it did is asked of the engine."""
    try:
        if way == "fetch":
            for reference in {found.wanted[name].image for name in names}:
                docker.run(argv.fetch(reference))
        else:
            command = argv.build if way == "build" else argv.pull
            docker.run(command(view.spec.project, view.source.parent, names), stdin=found.text)
    except ComposeFailedError as error:
        return "".join(f"{line}\n" for line in error.said.splitlines()[-3:])
    return ""
