"""`manage.py clean`: remove all state of this installation."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import click

from config.cli.installation import Installation, open_installation
from config.cli.output import Output, UserError, json_option, megabytes, speaking
from config.cli.uplock import only_one
from portal.cleanup.engine import KEPT
from portal.runtime.compose import ComposeRuntime

# What `up` makes. The tools stay, they hold no data; so does whatever else lies in that folder.
STATE = ("control", "stacks", "known", "repositories", "operations", "home", "faults", "recovery", "run")
WORD = "delete everything"


@click.command("clean")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def command(yes: bool, as_json: bool) -> None:
    """Delete all documents, vectors, models, accounts and local backup sets of this installation, for good."""
    with speaking(as_json=as_json) as output:
        installation = open_installation()
        with only_one(installation.paths.run, "clean"):
            if installation.is_running:
                raise UserError("services are still running", "run manage.py down first", "running")
            found = {name: _size(installation.paths.var / name) for name in STATE}
            found = {name: size for name, size in found.items() if (installation.paths.var / name).exists()}
            if not yes and found:
                _confirm(installation, found, as_json)
            if isinstance(installation.runtime, ComposeRuntime) and installation.exists:
                names = kept_names(installation.paths.var)
                _remove_containers(installation, output)
                installation.runtime.let_images_go(names)
            for name in found:
                if (folder := installation.paths.var / name).exists():
                    shutil.rmtree(folder)
        removed = sum(found.values())
        output.result(
            {"removed": sorted(found), "bytes": removed},
            f"Removed {megabytes(removed)}." if found else "There was nothing to remove.",
        )


def _remove_containers(installation: Installation, output: Output) -> None:
    """With their volumes, which hold the data, and their networks; the stack first, because the portal's is one of
    its networks."""
    for group in reversed(installation.groups):
        output.step(f"removing the containers and volumes of {group.project}")
        installation.runtime.remove(group, data=True)


def kept_names(var: Path) -> set[str]:
    """The names that releases of this installation may have given to images, to keep them from being cleaned up."""
    found = set[str]()
    for sealed in (var / "control" / "secrets" / "releases").glob("*.sealed"):
        stack, _, number = sealed.stem.rpartition("-")
        found |= {f"{KEPT}{stack}-{service}-{number}" for service in _services(var / "stacks" / stack)}
    return found


def _services(root: Path) -> set[str]:
    """The services that a stack has, or had when it was deployed last."""
    found = set[str]()
    for file, key in ((root / "deployed.json", "images"), (root / "compose" / "deployed.json", "services")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found |= set(json.loads(file.read_text(encoding="utf-8"))[key])
    return found


def _confirm(installation: Installation, found: dict[str, int], as_json: bool) -> None:
    if as_json:
        raise UserError("nothing was removed: --json cannot ask", "add --yes", "unconfirmed")
    click.echo(f"This deletes for good, under {installation.paths.var}:", err=True)
    if installation.chosen.in_containers:
        click.echo(f"  the containers and volumes of {' and '.join(g.project for g in installation.groups)}", err=True)
    for name, size in found.items():
        click.echo(f"  {name:<13} {megabytes(size):>9}  {LOSSES[name]}", err=True)
    try:
        answer = click.prompt(f'Type "{WORD}" to go on', default="", show_default=False, err=True)
    except click.Abort:
        answer = ""
    if answer.strip() != WORD:
        raise UserError("nothing was removed", f'type "{WORD}" when asked, or add --yes', "unconfirmed")


LOSSES = {
    "control": "the portal's accounts, operations, plans and passwords",
    "stacks": "all documents, conversations, accounts, vectors and models",
    "known": "which files further stacks consist of",
    "repositories": "all local backup sets",
    "operations": "what unfinished restores and undo still need",
    "home": "caches of the programs",
    "recovery": "what an unfinished recovery had brought",
    "faults": "traces of tests",
    "run": "configuration and logs of the supervisor",
}


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir()) if path.exists() else 0
