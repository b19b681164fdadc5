"""The command line behind `manage.py`, once the environment exists."""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click

from config.chosen import is_inside, read_chosen
from config.cli.output import Output, UserError, explained
from config.verbs import INSIDE, VERBS
from portal.runtime.paths import RuntimePaths


class Verbs(click.Group):
    """Loads a verb's module only when it is called, so that `status` does not pay for what `test` imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command: click.Command = importlib.import_module(verb.module).command
        command.short_help = verb.summary
        return command


cli = Verbs(
    name="manage.py",
    help="Ragkeep runs a RAG stack, keeps it backed up, and proves that it can be restored.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def main() -> None:
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in VERBS or verb.startswith("-") or not verb:
        _run(verb)
    elif verb in _django_verbs():
        _run_django()
    else:
        _refuse(verb)


def _run(verb: str) -> None:
    _delegate(verb)
    try:
        status = cli(prog_name="manage.py", standalone_mode=False)
    except click.ClickException as wrong:
        remedy = f"python3 manage.py {verb} --help shows what it takes" if isinstance(wrong, click.UsageError) else ""
        _fail(UserError(wrong.format_message().rstrip("."), remedy, "usage"), wrong.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail(UserError("interrupted", "the same command can be given again", "interrupted"), 130)
    sys.exit(status if isinstance(status, int) else 0)


def _delegate(verb: str) -> None:
    """Where the portal is containers, its verbs are carried out in one of them; questions for help are not."""
    if verb not in INSIDE or is_inside() or {"--help", "-h"}.intersection(sys.argv):
        return
    chosen = read_chosen(RuntimePaths.discover().var)
    if chosen is None or not chosen.in_containers:
        return
    from config.cli.containers import delegate
    from config.cli.installation import open_installation

    try:
        delegate(open_installation(), sys.argv[1:])
    except Exception as error:
        _fail(explained(error), 1)


def _fail(problem: UserError, status: int) -> NoReturn:
    Output(as_json="--json" in sys.argv).error(problem)
    sys.exit(status)


def _django_verbs() -> set[str]:
    from django.core.management import get_commands

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.run")
    return set(get_commands())


def _run_django() -> None:
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *sys.argv[1:]])


def _refuse(verb: str) -> None:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "python3 manage.py --help lists the verbs"
    _fail(UserError(f"there is no verb {verb!r}", hint, "usage"), 2)


if __name__ == "__main__":
    main()
