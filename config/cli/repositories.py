"""`manage.py repositories`: the places where backup sets are kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from backups.secret import Secret
from config.cli.confirming import typed
from config.cli.given import access_of, access_options, file_option, text_of
from config.cli.listing import listing_group
from config.cli.operations import connect, follow
from config.cli.output import Output, UserError, json_option, megabytes, speaking
from config.cli.repositories_upkeep import COMMANDS

if TYPE_CHECKING:
    from portal.vaults.models import Repository


@listing_group("repositories", "Add, test, adopt and remove the places where backup sets are kept; alone, list them.")
def command(output: Output) -> None:
    """List the repositories: how each is, what it holds, what it occupies."""
    connect()
    from portal.vaults.repository_selectors import repository_summaries

    found = repository_summaries()
    output.result({"repositories": found}, "\n".join(map(_row, found)) or "no repository yet")


@command.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--password-file", type=file_option, metavar="FILE", help="Its password; without it a new one is made.")
@access_options
@click.option("--append-only", is_flag=True, help="The credential may add and read, not remove.")
@click.option("--create-bucket", is_flag=True, help="Make the bucket when it is missing.")
@json_option
def add_command(name: str, url: str, append_only: bool, create_bucket: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options, read in access_of
    """Try the place URL out and add it as NAME: make a repository there, or adopt the one that is there.

    URL is a folder, s3:https://HOST/BUCKET, sftp:USER@HOST:/FOLDER or rest:https://HOST/NAME/. A FILE given as - is
    read from standard input.
    """
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.repositories import repository_add

        output.step(f"trying {url} out")
        password = text_of(given["password_file"])
        added = repository_add(
            name=name,
            url=url,
            password=Secret(password) if password else None,
            access=access_of(given),
            append_only=append_only,
            create_bucket=create_bucket,
        )
        _say_findings(output, added.report)
        adopted = _followed(output, added.adopting) if added.adopting else None
        row = added.repository
        text = f"{name} is {'adopted' if adopted else 'made'}: repository {row.restic_id[:8]} at {row.url}"
        if not password:
            text += f"\nIts password lies in {row.password_file}. Keep a copy elsewhere: it alone opens the sets."
        fields = {"name": name, "id": row.restic_id, "url": row.url, "password_file": row.password_file}
        output.result({**fields, "findings": added.report["findings"], "adopted": adopted}, text)


@command.command("test")
@click.argument("name")
@json_option
def test_command(name: str, as_json: bool) -> None:
    """Try the place of NAME out; exit status 0 only when nothing found is an error."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.repositories import repository_test

        report = repository_test(repository=repository_named(name))
        lines = [_finding(found) for found in report["findings"]]
        output.result({"name": name, **report}, "\n".join(lines) or f"{name} answers; nothing is wrong")
    sys.exit(0 if report["ok"] else 1)


@command.command("adopt")
@click.argument("name")
@json_option
def adopt_command(name: str, as_json: bool) -> None:
    """Read what lies in NAME into the lists: sets, and snapshots of other programs. Changes nothing there."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.repositories import repository_adopt

        result = _followed(output, repository_adopt(repository=repository_named(name)))
        text = (
            f"{name} holds {result['sets']} sets, {result['new']} of them new here, "
            f"and {result['foreign']} foreign snapshots"
        )
        output.result({"name": name, **result}, text)


@command.command("change")
@click.argument("name")
@click.option("--url", metavar="URL", help="Where the same repository lies now.")
@access_options
@click.option("--append-only/--no-append-only", default=None, help="Whether the credential may not remove.")
@json_option
def change_command(name: str, url: str | None, append_only: bool | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options, read in access_of
    """Change how NAME is reached; kept only when the same repository is found there."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.repositories import repository_update

        report = repository_update(
            repository=repository_named(name), url=url, access=access_of(given), append_only=append_only
        )
        _say_findings(output, report)
        output.result({"name": name, "findings": report["findings"]}, f"{name} is changed")


@command.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def remove_command(name: str, yes: bool, as_json: bool) -> None:
    """Take NAME and its sets off the lists. What lies in it stays, and its password is kept aside."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.repositories import repository_remove

        repository = repository_named(name)
        question = f"Type the name of the repository ({name}) to take it off the lists"
        kept = repository_remove(repository=repository, confirm=name if yes else typed(output, question))
        where = f" Its password and credentials are kept: {', '.join(kept)}" if kept else ""
        output.result({"name": name, "kept": kept}, f"{name} is off the lists; its data stays.{where}")


def repository_named(name: str) -> Repository:
    """The repository called `name`.

    Raises:
        UserError: there is none.
    """
    from portal.vaults.models import Repository

    found = Repository.objects.filter(name=name).first()
    if found is None:
        raise UserError(f"there is no repository {name!r}", "manage.py repositories lists them", "no_repository")
    return found


def _row(found: dict[str, Any]) -> str:
    size, free = megabytes(found["bytes"]), megabytes(found["free_bytes"])
    head = f"{found['name']:<20} {found['kind']:<6} {found['state']:<9} {found['sets']:>5} sets"
    return f"{head} {size:>9}, {free} free  {found['url']}"


def _say_findings(output: Output, report: dict[str, Any]) -> None:
    for found in report["findings"]:
        output.line(_finding(found))


def _finding(found: dict[str, str]) -> str:
    remedy = f"\n{'':<9}what to do: {found['remedy']}" if found["remedy"] else ""
    return f"{found['level']:<8} {found['message']}{remedy}"


def _followed(output: Output, operation: Any) -> dict[str, Any]:  # noqa: ANN401 - an Operation, whose module needs Django
    follow(output, operation)
    if operation.state not in ("succeeded", "partial"):
        found = operation.error or {}
        said = found.get("message") or f"the operation was {operation.state}"
        raise UserError(said, found.get("remedy", ""), found.get("code", ""))
    return {**operation.result, "operation": str(operation.pk)}


for extra in COMMANDS:
    command.add_command(extra)
