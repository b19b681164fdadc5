"""What the verbs share that bring a release into service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from config.cli.output import Output, UserError


def confirm(output: Output, question: str) -> None:
    """Have somebody say yes.

    Raises:
        UserError: they said no, or nobody can be asked.
    """
    output.done()
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        raise UserError("nobody confirmed it", "add --yes to go on without a question", "unconfirmed") from None
    if not agreed:
        raise UserError("nothing was changed", "", "unconfirmed")


def told(result: Mapping[str, Any]) -> str:
    """How an operation that brings a release into service ended, in words."""
    if not result["changes"]:
        return f"nothing to do: release {result['release']} serves"
    lines = [f"release {result['release']} serves"]
    lines += [f"  {service}: {action}d" if action.endswith("e") else f"  {service}: {action}ed"
              for service, action in result["changes"].items()]  # fmt: skip
    if result.get("set_id"):
        lines.append(f"The data from before is in the set {result['set_id']}.")
    if result.get("restored"):
        lines.append(f"The data of the set {result['restored']} came back with it.")
    return "\n".join(lines)
