"""`manage.py drill`: prove that a backup set can be restored."""

from __future__ import annotations

import click

from config.cli.operations import choose_set, connect, run_operation
from config.cli.output import json_option, speaking


@click.command("drill")
@click.option("--set", "wanted", default="latest", show_default=True, metavar="ID", help="Which set.")
@json_option
def command(wanted: str, as_json: bool) -> None:
    """Restore a set into a throw-away stack, question it, compare everything, and remove it again."""
    with speaking(as_json=as_json) as output:
        connect()
        operation = run_operation(output, "drill", {"set": choose_set(wanted).pk})
        found = operation.result
        text = f"drill {found['state']}: set {found['set_id']} came back whole in {found['seconds']:.0f} s"
        output.result({**found, "operation": str(operation.pk)}, text)
