"""`manage.py deploy`: bring what the stack's files and settings say into service."""

from __future__ import annotations

import click

from config.cli.operations import connect, run_operation
from config.cli.output import json_option, speaking
from config.cli.plan import planned
from config.cli.rollout import agreed, tell


@click.command("deploy")
@click.option("--note", default="", metavar="TEXT", help="Why; kept with the release.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-backup", is_flag=True, help="Take no backup first, even if data is touched.")
@click.option("--pull", is_flag=True, help="Fetch anew what registries have under the names of the images.")
@json_option
def command(note: str, yes: bool, no_backup: bool, pull: bool, as_json: bool) -> None:
    """Deploy what the stack's files and settings say now.

    Everything is fetched or built before anything stops. When the new release does not become healthy, or does not
    answer a question, the one before serves again.
    """
    with speaking(as_json=as_json) as output:
        connect()
        if yes or agreed(output, planned(output), pull=pull):
            params = {"note": note, **({"backup": False} if no_backup else {}), **({"pull": True} if pull else {})}
            tell(output, run_operation(output, "stack.deploy", params))
