"""Having somebody agree before something is changed."""

from __future__ import annotations

import click

from config.cli.output import Output, UserError

UNASKED = "add --yes to go on without a question"


def confirm(output: Output, question: str) -> None:
    """Have somebody say yes.

    Raises:
        UserError: they said no, or nobody can be asked.
    """
    output.done()
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        raise _nobody(UNASKED) from None
    if not agreed:
        raise UserError("nothing was changed", "", "unconfirmed")


def typed(output: Output, question: str, *, otherwise: str = UNASKED) -> str:
    """What somebody types as an answer.

    Args:
        otherwise: what to do where nobody can be asked.

    Raises:
        UserError: nobody can be asked.
    """
    output.done()
    try:
        return str(click.prompt(question, err=True)).strip()
    except click.Abort:
        raise _nobody(otherwise) from None


def demand_typed(output: Output, name: str, question: str) -> None:
    """Have the name of what will be lost typed.

    Raises:
        UserError: something else was typed, or nobody can be asked.
    """
    if typed(output, question) != name:
        remedy = f"type {name} when asked, or add --yes"
        raise UserError(f"that is not {name}; nothing was changed", remedy, "unconfirmed")


def _nobody(remedy: str) -> UserError:
    return UserError("nobody confirmed it", remedy, "unconfirmed")
