"""`manage.py logs`: what the services wrote."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import click

from config.cli.installation import Installation, open_installation
from config.cli.output import UserError, json_option, speaking
from portal.runtime.spec import StackSpec


@click.command("logs")
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until interrupted.")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(min=0), help="Lines of each service.")
@json_option
def command(service: str | None, follow: bool, lines: int, as_json: bool) -> None:
    """Show the logs of SERVICE, or of all. Services of the portal are called control/NAME where names collide."""
    with speaking(as_json=as_json) as output:
        installation = open_installation()
        chosen = _choose(installation, service)
        if as_json:
            output.result(_collected(installation, chosen, lines, follow), "")
            return
        if not follow and lines and not any(_lines(installation, chosen, 1, follow)):
            output.line("nothing was written yet; python3 manage.py up starts the services")
        for name, line in _lines(installation, chosen, lines, follow):
            click.echo(line if len(chosen) == 1 else f"{name:<18} {line}")
        output.done()


def _choose(installation: Installation, service: str | None) -> list[tuple[StackSpec, str]]:
    everything = [(group, name) for group in reversed(installation.groups) for name in group.services]
    if service is None:
        return everything
    wanted = [(g, n) for g, n in everything if service in (n, f"{g.project}/{n}")]
    if not wanted:
        known = ", ".join(f"{group.project}/{name}" for group, name in everything)
        raise UserError(f"there is no service {service}", f"choose one of: {known}", "no_service")
    return wanted[:1]


def _collected(
    installation: Installation, chosen: list[tuple[StackSpec, str]], lines: int, follow: bool
) -> dict[str, dict[str, list[str]]]:
    if follow:
        raise UserError("one JSON object cannot follow a log", "leave out --json or --follow")
    runtime = installation.runtime
    return {"logs": {f"{group.project}/{name}": list(runtime.logs(group, name, lines=lines)) for group, name in chosen}}


def _lines(
    installation: Installation, chosen: list[tuple[StackSpec, str]], lines: int, follow: bool
) -> Iterator[tuple[str, str]]:
    if not follow:
        for group, name in chosen:
            for line in installation.runtime.logs(group, name, lines=lines):
                yield f"{group.project}/{name}", line
        return
    found: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def read(group: StackSpec, name: str) -> None:
        for line in installation.runtime.logs(group, name, lines=lines, follow=True):
            found.put((f"{group.project}/{name}", line))

    for group, name in chosen:
        threading.Thread(target=read, args=(group, name), daemon=True).start()
    while True:
        yield found.get()
