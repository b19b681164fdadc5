"""Gets what is missing before anything is stopped: built where the stack says how, otherwise pulled."""

from __future__ import annotations

from collections.abc import Collection

from portal.runtime.compose import argv
from portal.runtime.compose.client import Docker
from portal.runtime.compose.project import Rendering, View
from portal.runtime.errors import ComposeFailedError, ImageMissingError
from portal.runtime.protocol import Report, ServiceStatus, State


def provide(docker: Docker, view: View, rendered: Rendering, names: Collection[str], report: Report | None) -> None:
    """Have every image of these services on this host; however long that takes.

    Raises:
        ImageMissingError: one could neither be pulled nor built.
    """
    missing = [name for name in names if not rendered.wanted[name].image_id]
    said = ""
    for built in (True, False):
        group = [name for name in missing if bool(rendered.wanted[name].config.get("build")) is built]
        for name in group:
            detail = f"{'building' if built else 'fetching'} {rendered.wanted[name].image}"
            _tell(report, rendered, name, detail)
        if group:
            said += _run(docker, view, rendered, group, built=built)
    lost = {name: rendered.wanted[name].image for name in missing}
    lost = {name: reference for name, reference in lost.items() if not docker.engine.image_id(reference)}
    if lost:
        raise ImageMissingError(lost, said)


def _tell(report: Report | None, rendered: Rendering, name: str, detail: str) -> None:
    if report is not None:
        report(ServiceStatus(name, rendered.scope.services[name].title, State.STARTING, detail))


def _run(docker: Docker, view: View, rendered: Rendering, names: Collection[str], *, built: bool) -> str:
    command = argv.build if built else argv.pull
    try:
        docker.run(command(view.spec.project, view.source.parent, names), stdin=rendered.text)
    except ComposeFailedError as error:
        return "".join(f"{line}\n" for line in error.said.splitlines()[-3:])
    return ""
