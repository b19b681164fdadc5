"""`manage.py stop`: stop the stack and keep the portal."""

from __future__ import annotations

import click

from config.cli.operations import connect, run_operation
from config.cli.output import json_option, speaking

# It tells visitors that the rest is away for a while, and leads to the portal.
ENTRANCE = "nginx"


@click.command("stop")
@click.option("--all", "everything", is_flag=True, help="The entrance too: nobody is told anything any more.")
@json_option
def command(everything: bool, as_json: bool) -> None:
    """Stop the stack's services. The portal stays, and the entrance with a page that says so.

    `up` starts them again.
    """
    with speaking(as_json=as_json) as output:
        connect()
        operation = run_operation(output, "stack.stop", {} if everything else {"keep": [ENTRANCE]})
        text = "The stack is stopped." if everything else "The stack is stopped; its entrance says so to visitors."
        fields = {"stopped": True, "entrance": not everything, "operation": str(operation.pk)}
        output.result(fields, f"{text} manage.py up starts it again.")
