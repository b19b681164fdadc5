"""Subcommands of `manage.py repositories` that look after one: checking, pruning, copying, changing its key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from config.cli.confirming import demand_typed
from config.cli.given import file_option, text_of
from config.cli.operations import connect, run_started, user_error
from config.cli.output import Output, json_option, megabytes, speaking

if TYPE_CHECKING:
    from portal.operations.models import Operation

GIB = 2**30


@click.command("check")
@click.argument("name")
@json_option
def check(name: str, as_json: bool) -> None:
    """Check the structure and the next slice of the data of NAME; damage is told with the sets it affects."""
    with speaking(as_json=as_json) as output:
        done = _run(output, "repository.check", name)
        text = f"{name} is sound: its structure, and slice {done.result['part']} of {done.result['parts']} of its data"
        _tell(output, done, text)


@click.command("repair")
@click.argument("name")
@click.option("--snapshots", is_flag=True, help="Also drop from damaged sets what is lost; they become partial.")
@click.option("--copied-aside", is_flag=True, help="Index and snapshots of a remote repository are copied aside.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def repair(name: str, snapshots: bool, copied_aside: bool, yes: bool, as_json: bool) -> None:
    """Mend the index and the damaged files of NAME, after copying its index and snapshots aside."""
    with speaking(as_json=as_json) as output:
        if not yes:
            demand_typed(output, name, f"Type the name of the repository ({name}) to mend it")
        params = {"snapshots": snapshots, "copied_aside": copied_aside}
        done = _run(output, "repository.repair", name, params)
        aside = f"; what it was before lies in {done.result['aside']}" if done.result["aside"] else ""
        _tell(output, done, f"{name} is sound again{aside}")


@click.command("prune")
@click.argument("name")
@click.option("--full-disk", is_flag=True, help="Only remove whole files, for a disk without room to write anew.")
@click.option("--recover", is_flag=True, help="With the least space of all; nothing may interrupt it.")
@json_option
def prune(name: str, full_disk: bool, recover: bool, as_json: bool) -> None:
    """Remove data from NAME that no set needs any more."""
    with speaking(as_json=as_json) as output:
        done = _run(output, "repository.prune", name, {"full_disk": full_disk, "recover": recover})
        freed = done.result["freed_bytes"]
        _tell(output, done, f"{name} is pruned" + ("" if freed is None else f", {megabytes(freed)} are free again"))


@click.command("unlock")
@click.argument("name")
@json_option
def unlock(name: str, as_json: bool) -> None:
    """Clear locks of NAME whose owners are provably gone; others are named."""
    with speaking(as_json=as_json) as output:
        done = _run(output, "repository.unlock", name)
        held = "".join(
            f"\nheld by process {lock['pid']} on {lock['host']} since {lock['since'][:16]}"
            for lock in done.result["held"]
        )
        _tell(output, done, f"{len(done.result['cleared'])} locks cleared{held}")


@click.command("measure")
@click.argument("name")
@json_option
def measure(name: str, as_json: bool) -> None:
    """Measure what NAME occupies and holds now."""
    with speaking(as_json=as_json) as output:
        done = _run(output, "repository.stats", name)
        found = done.result
        text = f"{name}: {found['snapshots_count']} snapshots, {megabytes(found['total_size'])} in use"
        foreign = f"\n{found['foreign_count']} of them were made by no operation of this portal"
        _tell(output, done, text + (foreign if found["foreign_count"] else ""))


@click.command("copy")
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="ID", help="Only this set; can be given several times.")
@json_option
def copy(name: str, sets: tuple[str, ...], as_json: bool) -> None:
    """Copy every whole set of NAME that its second repository lacks; `care NAME --copy-to` names that."""
    with speaking(as_json=as_json) as output:
        done = _run(output, "repository.copy", name, {"sets": list(sets)} if sets else {})
        _tell(output, done, f"{len(done.result['copied'])} sets copied to {done.result['to']}")


@click.command("change-key")
@click.argument("name")
@click.option("--to", metavar="NAME", help="Name of the new repository; without it the old one's with a number.")
@click.option("--url", metavar="URL", help="Its address; without it a folder beside the old one.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def change_key(name: str, to: str | None, url: str | None, yes: bool, as_json: bool) -> None:
    """Make a repository with a new key, copy everything from NAME, and let plans and sets use it from then on."""
    with speaking(as_json=as_json) as output:
        if not yes:
            demand_typed(output, name, f"Type the name of the repository ({name}) to replace it")
        given = {key: value for key, value in (("to", to), ("url", url)) if value}
        done = _run(output, "repository.rekey", name, given)
        text = (
            f"{done.result['repository']} at {done.result['url']} has replaced {name}, which stays readable.\n"
            "Print its recovery card now: the old key opens none of what is stored from here on."
        )
        _tell(output, done, text)


@click.command("care")
@click.argument("name")
@click.option("--copy-to", metavar="NAME", help="Second repository that whole sets are copied to; empty for none.")
@click.option("--check-parts", type=int, metavar="N", help="In how many checks everything is read.")
@click.option("--capacity-gib", type=click.IntRange(min=0), metavar="N", help="What the provider grants; 0: unknown.")
@click.option("--prune-url", metavar="URL", help="Where an append-only repository is pruned; empty for nowhere.")
@click.option("--prune-credentials-file", type=file_option, metavar="FILE", help="NAME=VALUE lines for that address.")
@json_option
def care(
    name: str,
    copy_to: str | None,
    check_parts: int | None,
    capacity_gib: int | None,
    prune_url: str | None,
    prune_credentials_file: Path | None,
    as_json: bool,
) -> None:
    """Say how NAME is looked after."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.operations.errors import OperationRefused
        from portal.vaults.care import Care, repository_care
        from portal.vaults.upkeep import repository_at

        given = Care(
            copy_to=copy_to,
            check_parts=check_parts,
            capacity_bytes=None if capacity_gib is None else capacity_gib * GIB,
            prune_url=prune_url,
            prune_credentials=text_of(prune_credentials_file) if prune_credentials_file else None,
        )
        try:
            changed = repository_care(repository=repository_at(f"repository:{name}"), care=given)
        except OperationRefused as refused:
            raise user_error(refused) from None
        output.result({"name": name, "changed": changed}, f"{name}: {', '.join(changed) or 'nothing'} changed")


def _run(output: Output, kind: str, name: str, params: dict[str, Any] | None = None) -> Operation:
    connect()
    from portal.operations.services import operation_start

    return run_started(output, lambda: operation_start(kind=kind, target=f"repository:{name}", params=params))


def _tell(output: Output, done: Operation, text: str) -> None:
    output.result({**done.result, "operation": str(done.pk)}, text)


COMMANDS: tuple[click.Command, ...] = (check, repair, prune, unlock, measure, copy, change_key, care)
