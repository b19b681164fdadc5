"""`manage.py sh`: a shell, or one command, inside a service."""

from __future__ import annotations

import sys

import click

from backups import process
from config.cli.containers import exec_words, running_container
from config.cli.installation import open_installation
from config.cli.output import UserError, speaking
from portal.runtime.compose import ComposeRuntime
from portal.runtime.terminals import SHELL


@click.command("sh", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("service")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND ...]")
def command(service: str, words: tuple[str, ...]) -> None:
    """Open a shell in SERVICE, or run COMMAND there; with its environment, paths and addresses.

    Services of the portal are called GROUP/NAME where names collide. The exit status is that of the command.
    """
    with speaking() as output:
        installation = open_installation()
        [(group, name)] = installation.named(service)
        runtime = installation.runtime
        if isinstance(runtime, ComposeRuntime):
            terminal = sys.stdin.isatty() and sys.stdout.isatty()
            container = running_container(runtime, group.project, name)
            if container is None:
                raise UserError(f"{group.project}/{name} does not run", "run python3 manage.py up", "not_running")
            argv = exec_words(container, words or SHELL, terminal=terminal, variables={})
            code = process.call(argv, env=runtime.docker.environment({}))
        elif words:
            done = runtime.exec(group, name, words)
            click.echo(done.stdout, nl=False)
            click.echo(done.stderr, nl=False, err=True)
            code = done.returncode
        else:
            raise UserError("a process has no inside", f"name a command: sh {service} COMMAND ...", "embedded")
        output.done()
    sys.exit(code)
