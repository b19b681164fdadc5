"""`manage.py sets`: list the backup sets."""

from __future__ import annotations

import click

from config.cli.operations import connect
from config.cli.output import json_option, megabytes, speaking


@click.command("sets")
@json_option
def command(as_json: bool) -> None:
    """List the backup sets, newest first."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.backup import set_summary
        from portal.vaults.selectors import repository_warnings, set_list

        sets, warnings = [set_summary(found) for found in set_list()], repository_warnings()
        for warning in warnings:
            output.line(f"warning: {warning}")
        rows = [
            f"{s['set_id']}  {s['state']:<9} {megabytes(s['bytes_total']):>9}"
            f"  {'proven ' + s['proven_at'][:16] if s['proven_at'] else 'not proven yet'}"
            for s in sets
        ]
        output.result({"sets": sets, "warnings": warnings}, "\n".join(rows) or "no backup set yet")
