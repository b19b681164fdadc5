"""`manage.py deploy`: bring what the stack's files and settings say into service."""

from __future__ import annotations

from typing import Any

import click

from config.cli.operations import connect, run_operation
from config.cli.output import Output, json_option, speaking
from config.cli.plan import demand_possible, plan_lines, planned
from config.cli.rollout import confirm, told


@click.command("deploy")
@click.option("--note", default="", metavar="TEXT", help="Why; kept with the release.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-backup", is_flag=True, help="Take no backup first, even if data is touched.")
@json_option
def command(note: str, yes: bool, no_backup: bool, as_json: bool) -> None:
    """Deploy what the stack's files and settings say now.

    Everything is fetched or built before anything stops. When the new release does not become healthy, or does not
    answer a question, the one before serves again.
    """
    with speaking(as_json=as_json) as output:
        connect()
        if not yes:
            report = planned(output)
            demand_possible(report)
            for line in plan_lines(report):
                output.line(line)
            if report["nothing"]:
                fields = {"release": report["release"], "changes": {}, "set_id": None, "operation": None}
                output.result(fields, "nothing to do")
                return
            confirm(output, "Deploy this?")
        _deploy(output, {"note": note, **({"backup": False} if no_backup else {})})


def _deploy(output: Output, params: dict[str, Any]) -> None:
    operation = run_operation(output, "stack.deploy", params)
    output.result({**operation.result, "operation": str(operation.pk)}, told(operation.result))
