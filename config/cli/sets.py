"""`manage.py sets`: list, show, label, pin, verify and delete backup sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from config.cli.confirming import demand_typed
from config.cli.operations import choose_set, connect, run_started
from config.cli.output import Output, json_option, megabytes, speaking
from config.cli.sets_files import browse, fetch_command

if TYPE_CHECKING:
    from datetime import datetime

    from portal.vaults.models import BackupSet

PAGE = 100


@click.group("sets", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Backup sets. Without a subcommand: list the newest ones."""
    if ctx.invoked_subcommand is None:
        with speaking(as_json=as_json) as output:
            _list(output, {}, PAGE)


@command.command("list")
@click.option("--stack", default="", help="Only sets of this stack.")
@click.option("--repository", default="", help="Only sets in this repository.")
@click.option("--plan", default="", help="Only sets that this plan took.")
@click.option("--state", type=click.Choice(["complete", "partial", "failed"]), help="Only sets in this state.")
@click.option("--tag", default="", help="Only sets with this tag.")
@click.option("--search", "text", default="", metavar="TEXT", help="Only sets with this text in their note or id.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only sets of this day, local time.")
@click.option("--pinned", is_flag=True, help="Only pinned sets.")
@click.option("--removed", is_flag=True, help="The history: sets that are no longer in their repository.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=PAGE, show_default=True, help="At most so many.")
@json_option
def list_command(limit: int, day: datetime | None, state: str | None, as_json: bool, **wanted: Any) -> None:  # noqa: ANN401
    """List sets, newest first."""
    with speaking(as_json=as_json) as output:
        _list(output, {**wanted, "state": state or "", "day": day.date() if day else None}, limit)


def _list(output: Output, wanted: dict[str, Any], limit: int) -> None:
    connect()
    from portal.vaults.selectors import repository_warnings
    from portal.vaults.setlist import SetFilter, sets_filtered

    rows = sets_filtered(SetFilter(**wanted))
    count = rows.count()
    sets, warnings = [summary(found) for found in rows.select_related("repository", "plan")[:limit]], []
    for warning in repository_warnings():
        warnings.append(warning)
        output.line(f"warning: {warning}")
    if count > limit:
        output.line(f"{limit:,} of {count:,} sets; --limit shows more")
    text = "\n".join(_row(found) for found in sets) or "no backup set" + (
        " matches" if any(wanted.values()) else " yet"
    )
    output.result({"sets": sets, "count": count, "warnings": warnings}, text)


def _row(found: dict[str, Any]) -> str:
    proof = f"proven {found['proven_at'][:16]}" if found["proven_at"] else "not proven yet"
    proof = f"removed {found['removed_at'][:16]}" if found["removed_at"] else proof
    labels = " ".join([*(["pinned"] if found["pinned"] else []), *found["tags"]])
    return (
        f"{found['set_id']}  {found['state']:<9} {megabytes(found['bytes_total']):>9}  {proof:<23}  {labels}".rstrip()
    )


def summary(found: BackupSet) -> dict[str, Any]:
    """A set in a list, as `--json` prints it."""
    from portal.vaults.backup import set_summary

    return {
        **set_summary(found),
        "plan": found.plan.name if found.plan else None,
        "tags": found.tags,
        "note": found.note,
        "pinned": found.pinned,
        "anomalies": found.anomalies,
        "verified_at": found.verified_at.isoformat() if found.verified_at else None,
        "removed_at": found.removed_at.isoformat() if found.removed_at else None,
    }


@contextmanager
def chosen(wanted: str, *, as_json: bool) -> Iterator[tuple[Output, BackupSet]]:
    """The verb's output and the set that ID or `latest` names."""
    with speaking(as_json=as_json) as output:
        connect()
        yield output, choose_set(wanted)


@command.command("show")
@click.argument("wanted", metavar="ID")
@json_option
def show(wanted: str, as_json: bool) -> None:
    """Everything that is recorded of the set ID (or `latest`)."""
    with chosen(wanted, as_json=as_json) as (output, found):
        copies = [copy.repository.name for copy in found.copies.select_related("repository")]
        known = {
            **summary(found),
            "environment": found.environment,
            "sources": found.sources,
            "detail": found.detail,
            "copies": copies,
            "verify_error": found.verify_error,
            "drills": [{"state": drill.state, "seconds": drill.seconds} for drill in found.drills.all()[:10]],
        }
        output.result(known, _shown(found, known))


def _shown(found: BackupSet, known: dict[str, Any]) -> str:
    """The same in lines for people."""
    from portal.web import words
    from portal.web.setparts import parts

    told, plain = parts(found), ("set_id", "state", "stack", "environment", "plan", "repository", "taken_at", "note")
    lines = [f"{words.plain_name(name)}: {known[name]}" for name in plain if known[name]]
    lines += [f"tags: {', '.join(known['tags'])}"] if known["tags"] else []
    lines += [f"pinned: {'yes' if found.pinned else 'no'}", f"proven: {known['proven_at'] or 'not yet'}"]
    lines += [f"size: {words.size(found.bytes_total)}, {words.size(found.bytes_added)} of it new"]
    lines += [f"writes held: {words.milliseconds(found.freeze_ms)}", f"took: {words.duration(found.seconds)}"]
    lines += [f"copies: {', '.join(known['copies']) or 'none'}", "sources:"]
    for row in told.sources:
        figures = f"{words.size(row.bytes)}, {words.size(row.added)} new, {words.duration(row.seconds)}"
        errors = f", errors: {', '.join(row.errors)}" if row.errors else ""
        lines.append(f"  {row.title}: {row.files} files, {figures}{errors}")
    lines += [f"holds: {words.measured('counts', found.counts)}"]
    lines += [f"versions: {', '.join(' '.join(pair) for pair in told.versions)}"] if told.versions else []
    lines += [f"wrong: {anomaly['message']}" for anomaly in told.anomalies]
    lines += [f"missing: {line}" for line in told.missing]
    return "\n".join([*lines, *([f"damaged: {found.verify_error['message']}"] if found.verify_error else [])])


@command.command("pin")
@click.argument("wanted", metavar="ID")
@json_option
def pin(wanted: str, as_json: bool) -> None:
    """Pin a set: neither retention nor anybody by hand removes it."""
    _pin(wanted, True, as_json)


@command.command("unpin")
@click.argument("wanted", metavar="ID")
@json_option
def unpin(wanted: str, as_json: bool) -> None:
    """Unpin a set."""
    _pin(wanted, False, as_json)


def _pin(wanted: str, pinned: bool, as_json: bool) -> None:
    with chosen(wanted, as_json=as_json) as (output, found):
        from portal.vaults.sets import set_pin

        set_pin(found=found, pinned=pinned)
        output.result(summary(found), f"set {found.pk} is {'pinned' if pinned else 'not pinned'}")


@command.command("note")
@click.argument("wanted", metavar="ID")
@click.argument("text")
@json_option
def note(wanted: str, text: str, as_json: bool) -> None:
    """Replace the note of a set by TEXT; an empty one removes it."""
    with chosen(wanted, as_json=as_json) as (output, found):
        from portal.vaults.sets import set_note

        set_note(found=found, note=text)
        output.result(summary(found), f"the note of set {found.pk} is stored")


@command.command("tag")
@click.argument("wanted", metavar="ID")
@click.argument("tags", nargs=-1)
@click.option("--remove", multiple=True, metavar="TAG", help="Take this tag away; may be given again.")
@json_option
def tag(wanted: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> None:
    """Add TAGS to a set."""
    with chosen(wanted, as_json=as_json) as (output, found):
        from portal.vaults.sets import set_tag

        now = set_tag(found=found, add=tags, remove=remove)
        output.result(summary(found), f"tags of set {found.pk}: {', '.join(now) or 'none'}")


@command.command("verify")
@click.argument("wanted", metavar="ID")
@json_option
def verify(wanted: str, as_json: bool) -> None:
    """Read every byte of a set back and compare it with what is recorded in it."""
    with chosen(wanted, as_json=as_json) as (output, found):
        from portal.vaults.sets import set_verify

        operation = run_started(output, lambda: set_verify(found=found))
        text = f"set {found.pk} is whole"
        output.result({**operation.result, "set_id": found.pk, "operation": str(operation.pk)}, text)


@command.command("delete")
@click.argument("wanted", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(wanted: str, yes: bool, as_json: bool) -> None:
    """Remove a set from its repository for good. Refuses a pinned one and the last one that was proven."""
    with chosen(wanted, as_json=as_json) as (output, found):
        from portal.vaults.sets import set_delete, set_delete_obstacle

        if obstacle := set_delete_obstacle(found):
            raise obstacle
        if not yes:
            demand_typed(output, found.pk, f"Type the id of the set ({found.pk}) to delete it")
        operation = run_started(output, lambda: set_delete(found=found))
        text = f"set {found.pk} is deleted"
        output.result({**operation.result, "set_id": found.pk, "operation": str(operation.pk)}, text)


for extra in (browse, fetch_command):
    command.add_command(extra)
