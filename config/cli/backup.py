"""`manage.py backup`: take a backup set now."""

from __future__ import annotations

import sys

import click

from config.cli.operations import EXIT_PARTIAL, connect, run_operation
from config.cli.output import json_option, megabytes, speaking


@click.command("backup")
@json_option
def command(as_json: bool) -> None:
    """Take a backup set and wait for it. Exit status 0 when it is complete, 3 when something is missing from it."""
    with speaking(as_json=as_json) as output:
        connect()
        operation = run_operation(output, "backup")
        made = operation.result
        text = (
            f"set {made['set_id']} is {made['state']}: {megabytes(made['bytes_total'])} in all, "
            f"{megabytes(made['bytes_added'])} new, {made['seconds']:.1f} s, frozen for {made['freeze_ms']:.0f} ms"
        )
        missing = "".join(f"\n  missing: {line}" for line in made.get("missing", []))
        output.result({**made, "operation": str(operation.pk)}, text + missing)
    sys.exit(0 if made["state"] == "complete" else EXIT_PARTIAL)
