"""`manage.py down`: stop everything; all data stays."""

from __future__ import annotations

import click

from config.cli.containers import hand_over
from config.cli.installation import open_installation
from config.cli.output import json_option, speaking
from config.cli.uplock import only_one
from portal.runtime.embedded import EmbeddedRuntime


@click.command("down")
@json_option
def command(as_json: bool) -> None:
    """Stop the stack, the portal and their supervisor. All data stays; `up` starts them again."""
    with speaking(as_json=as_json) as output:
        installation = open_installation()
        with only_one(installation.paths.run, "down"):
            # The portal first: its worker may be using the stack.
            for group in installation.groups:
                output.step(f"stopping {group.project}")
                installation.runtime.stop(group)
            if isinstance(installation.runtime, EmbeddedRuntime):
                output.step("stopping the supervisor")
                installation.runtime.supervisor.shutdown()
            else:
                hand_over(installation.paths.var)
        output.result({"stopped": True}, "Stopped. The data is untouched; manage.py up starts it again.")
