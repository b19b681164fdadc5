"""`manage.py sources`: what the sets of the stack hold besides what every set holds."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from backups.secret import Secret
from config.cli.confirming import typed
from config.cli.given import file_option, text_of
from config.cli.listing import listing_group
from config.cli.operations import connect, default_stack
from config.cli.output import Output, UserError, json_option, megabytes, speaking

if TYPE_CHECKING:
    from portal.vaults.models import ExtraSource


@listing_group("sources", "Add, test and remove further sources of the stack's sets; alone, list all sources.")
def command(output: Output) -> None:
    """List every source and what the last good set holds of it."""
    connect()
    from portal.vaults.sources import source_rows

    rows = source_rows(stack=default_stack().name)
    lines = [
        f"{row.name:<20} {megabytes(row.figures['bytes'] if row.figures else None):>9}  {row.where}  ({row.title})"
        for row in rows
    ]
    output.result({"sources": [asdict(row) for row in rows]}, "\n".join(lines))


@command.command("add")
@click.argument("name")
@click.option("--folder", metavar="PATH", help="A folder or mounted volume.")
@click.option("--mountpoint", is_flag=True, help="Refuse to back up while nothing is mounted at the folder.")
@click.option("--may-be-empty", is_flag=True, help="An empty folder is no fault.")
@click.option("--postgres", metavar="DATABASE", help="A Postgres database.")
@click.option("--redis", is_flag=True, help="A Redis or Valkey server.")
@click.option("--host", default="", help="Server of the database or of Redis; without it the stack's own.")
@click.option("--port", type=int, help="Its port; 5432 or 6379 without it.")
@click.option("--role", default="", help="Role that may read the database.")
@click.option("--password-file", type=file_option, metavar="FILE", help="Password for the server.")
@json_option
def add_command(name: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options
    """Try a source out and make it part of every further set, as NAME."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.sources import source_add, where_of

        kind = _kind(given)
        password = text_of(given.pop("password_file"))
        added = source_add(
            stack=default_stack().name,
            name=name,
            kind=kind,
            path=given["folder"] or "",
            mountpoint=given["mountpoint"],
            may_be_empty=given["may_be_empty"],
            database=given["postgres"] or "",
            host=given["host"],
            port=given["port"],
            role=given["role"],
            password=Secret(password) if password else None,
        )
        where = where_of(added)
        output.result({"name": name, "kind": kind, "where": where}, f"{name} ({where}) is part of every further set")


@command.command("test")
@click.argument("name")
@json_option
def test_command(name: str, as_json: bool) -> None:
    """Look whether a backup would find NAME as it must be; exit status 1 when not."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.sources import source_test

        tried = source_test(source=_named(name))
        text = f"{name} is as a backup needs it" if tried.ok else f"{tried.message}\nwhat to do: {tried.remedy}"
        output.result({"name": name, "ok": tried.ok, **asdict(tried)}, text)
    sys.exit(0 if tried.ok else 1)


@command.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def remove_command(name: str, yes: bool, as_json: bool) -> None:
    """Leave NAME out of further sets. What sets hold of it stays in them."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.sources import source_remove

        source = _named(name)
        question = f"Type the name of the source ({name}) to leave it out"
        source_remove(source=source, confirm=name if yes else typed(output, question))
        output.result({"name": name, "removed": True}, f"{name} is left out of further sets")


def _kind(given: dict[str, Any]) -> str:
    kinds = [kind for kind in ("folder", "postgres", "redis") if given[kind]]
    if len(kinds) != 1:
        raise UserError("say what the source is", "give one of --folder PATH, --postgres DATABASE, --redis", "invalid")
    return kinds[0]


def _named(name: str) -> ExtraSource:
    from portal.vaults.sources import source_list

    known = {source.name: source for source in source_list(stack=default_stack().name)}
    if name not in known:
        told = ", ".join(known) or "none"
        raise UserError(f"there is no further source {name!r}", f"those that were added: {told}", "unknown")
    return known[name]
