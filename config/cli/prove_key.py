"""`manage.py prove-key`: open a repository with the key that somebody types, and record that they hold it."""

from __future__ import annotations

import sys
from typing import Any

import click

from backups.secret import Secret
from config.cli.given import access_of, access_options
from config.cli.operations import connect, user_error
from config.cli.output import Output, UserError, json_option, speaking
from config.cli.recovery_card import choose_repository


@click.command("prove-key")
@click.argument("repository", required=False)
@access_options
@json_option
def command(repository: str | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options, read in access_of
    """Type the key of REPOSITORY, from where you keep it, and have it opened read-only. The default is the first.

    Without a terminal the key is read from standard input. A proof older than 90 days is asked for again. Give the
    other files that you keep, too, and the repository is reached by them instead of the portal's own.
    """
    with speaking(as_json=as_json) as output:
        connect()
        from portal.operations.errors import OperationError
        from portal.vaults.keyproof import key_prove

        chosen = choose_repository(repository)
        try:
            access = access_of(given)
            proof = key_prove(repository=chosen, typed=_typed(output, chosen.name), access=access)
        except OperationError as refused:
            raise user_error(refused) from None
        if not proof.passed:
            raise UserError(
                f"that key does not open {chosen.name}",
                "find the right one now, while the machine still has it; manage.py recovery-card says where",
                "repository_key_wrong",
            )
        fields = {"repository": chosen.name, "passed": True, "at": proof.created_at}
        output.result(fields, f"That key opens {chosen.name}. Recorded; the next proof is due in 90 days.")


def _typed(output: Output, name: str) -> Secret:
    """
    Raises:
        UserError: nothing was typed.
    """
    output.done()
    if sys.stdin.isatty():
        value = click.prompt(f"Key of {name}", hide_input=True, err=True, default="", show_default=False)
    else:
        value = sys.stdin.readline()
    if not value.strip():
        raise UserError("no key was typed", "type it, or pass it on standard input", "usage")
    return Secret(value.strip())
