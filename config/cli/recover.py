"""`manage.py recover`: bring a lost installation back from its repository and the key of it."""

from __future__ import annotations

from typing import Any

import click

from config.chosen import read_chosen
from config.cli.given import access_options, file_option
from config.cli.installation import ADMIN_EMAIL, password_shown
from config.cli.operations import connect
from config.cli.output import Output, UserError, json_option, speaking
from config.cli.recovery import Recovery, Report
from config.cli.recovery_place import Asked
from config.cli.uplock import only_one
from portal.runtime.paths import RuntimePaths


@click.command("recover")
@click.option("--repository", metavar="URL", help="Folder or address of the repository.")
@click.option("--password-file", type=file_option, metavar="FILE", help="File with its password.")
@access_options
@click.option("--set", "wanted", default="latest", metavar="latest|ID", help="Which set. [latest]")
@click.option("--port", type=int, help="Base port; the portal is on the next one. [8080]")
@click.option("--listen", metavar="ADDRESS", help="Address of the chat and the portal. [127.0.0.1]")
@click.option("--take-over", is_flag=True, help="The old machine is gone: let the plans run here.")
@json_option
def command(
    repository: str | None,
    wanted: str,
    port: int | None,
    listen: str | None,
    take_over: bool,
    as_json: bool,
    **given: Any,  # noqa: ANN401 - click's options, read in Asked
) -> None:
    """Bring back stack and portal on a blank machine, from nothing but a repository and its key.

    What reaches the repository is kept for the portal. A FILE given as - is read from standard input.

    Plans are held until --take-over says that the old machine is gone: two machines must not write as one. After an
    interruption the same command goes on.
    """
    with speaking(as_json=as_json) as output:
        _demand_processes()
        if take_over:
            _take_over(output)
            return
        if not repository or given["password_file"] is None:
            raise UserError(
                "say which repository, and where its password is",
                "python3 manage.py recover --repository /backup/ragkeep --password-file /safe/repository-password",
                "usage",
            )
        asked = Asked.read(repository, given)
        with only_one(RuntimePaths.discover().run, "recover"):
            report = Recovery(asked=asked, wanted=wanted, port=port, listen=listen, output=output).run()
            output.result(_fields(report), _text(report))
            if report.password:
                password_shown(report.installation)


def _demand_processes() -> None:
    known = read_chosen(RuntimePaths.discover().var)
    if known is not None and known.in_containers:
        raise UserError(
            "an installation in containers is not recovered like this",
            "run up --runtime compose, add the repository, and restore its set with --to-stack",
            "other_runtime",
        )


def _take_over(output: Output) -> None:
    connect()
    from portal.vaults.recover import plans_take_over

    names = [plan.name for plan in plans_take_over()]
    said = f"This machine has taken over: {', '.join(names)} run again." if names else "No plan was held."
    output.result({"plans": names}, said)


def _fields(report: Report) -> dict[str, Any]:
    manifest = report.found.manifest
    fields: dict[str, Any] = {
        "set_id": manifest.set_id,
        "taken_at": manifest.taken_at.isoformat(),
        "portal_url": report.installation.portal_url,
        "chat_url": report.installation.chat_url,
        "portal_recovered": report.portal,
        "canary": report.canary.get("canary", report.canary),
        "seconds": report.seconds,
        "steps": dict(report.steps),
        **report.settled,
    }
    if report.password:
        fields["admin"] = {"email": ADMIN_EMAIL, "password": report.password.reveal()}
    return fields


def _text(report: Report) -> str:
    where, settled, manifest = report.installation, report.settled, report.found.manifest
    accounts = f"{settled['accounts']} with their old passwords; {settled['sets']} sets in the list"
    lines = [
        f"Recovered: questions are answered {report.seconds:g} s after the command.",
        f"  Set       {manifest.set_id}, taken {manifest.taken_at:%Y-%m-%d %H:%M} UTC",
        f"  Portal    {where.portal_url}",
        f"  Chat      {where.chat_url}",
    ]
    if report.password:
        lines.append("  Accounts  the set holds no portal: it starts anew; chat accounts are as they were")
        lines.append(f"  Sign in   {ADMIN_EMAIL} {report.password.reveal()}   to the portal; shown this once: keep it")
    else:
        lines.append(f"  Accounts  {accounts}")
    if settled["operations_lost"]:
        lines.append(f"  Lost      {settled['operations_lost']} operations that were at work when the set was taken")
    if settled["unreachable"]:
        lines.append(f"  Missing   repositories that are not here: {', '.join(settled['unreachable'])}")
    lines += [
        "",
        f"Held: {settled['plans_held']} plans. Two machines must not write as one. When the old one is gone for good:",
        "  python3 manage.py recover --take-over",
        "Then take a backup and prove it: python3 manage.py backup && python3 manage.py drill",
    ]
    return "\n".join(lines)
