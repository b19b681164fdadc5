"""`manage.py logs`: what the services wrote."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

import click

from config.cli.installation import Installation, open_installation
from config.cli.output import UserError, json_option, speaking
from portal.runtime.spec import StackSpec
from portal.stacks.loglines import LEVELS, Reader, Wanted


@click.command("logs")
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until interrupted.")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(min=0), help="Lines of each service.")
@click.option("-g", "--grep", default="", metavar="TEXT", help="Only lines with this text, in any case.")
@click.option("--level", default="debug", type=click.Choice(LEVELS), help="Only lines of this level and worse.")
@json_option
def command(service: str | None, follow: bool, lines: int, grep: str, level: str, as_json: bool) -> None:
    """Show the logs of SERVICE, or of all. Services of the portal are called control/NAME where names collide.

    Colours are left out, and secrets are shown as ***.
    """
    wanted = Wanted(grep, level)
    with speaking(as_json=as_json) as output:
        installation = open_installation()
        chosen = installation.named(service)
        if as_json:
            output.result(_collected(installation, chosen, lines, wanted, follow=follow), "")
            return
        if not follow and lines and not any(_lines(installation, chosen, 1, follow)):
            output.line("nothing was written yet; python3 manage.py up starts the services")
        for name, line in _shown(installation, chosen, _lines(installation, chosen, lines, follow), wanted):
            click.echo(line if len(chosen) == 1 else f"{name:<18} {line}")
        output.done()


def _collected(
    installation: Installation, chosen: list[tuple[StackSpec, str]], lines: int, wanted: Wanted, *, follow: bool
) -> dict[str, dict[str, list[str]]]:
    if follow:
        raise UserError("one JSON object cannot follow a log", "leave out --json or --follow")
    found: dict[str, list[str]] = {f"{group.project}/{name}": [] for group, name in chosen}
    for name, line in _shown(installation, chosen, _lines(installation, chosen, lines, follow), wanted):
        found[name].append(line)
    return {"logs": found}


def _shown(
    installation: Installation,
    chosen: list[tuple[StackSpec, str]],
    written: Iterable[tuple[str, str]],
    wanted: Wanted,
) -> Iterator[tuple[str, str]]:
    """The lines that are wanted, fit to be shown."""
    secrets = _secrets(installation, [group for group, _ in chosen])
    readers: dict[str, Reader] = {}
    for name, text in written:
        line = readers.setdefault(name, Reader(name, secrets=secrets)).line(text)
        if wanted.takes(line):
            yield name, line.text


def _secrets(installation: Installation, groups: Iterable[StackSpec]) -> list[str]:
    found = set[str]()
    for group in groups:
        for name in group.secrets:
            with suppress(OSError, UnicodeDecodeError):
                found.add(installation.secret(group, name).read_text(encoding="utf-8").strip())
    return sorted(found)


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
