"""`manage.py settings`: the settings and secrets of the stack."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from config.cli.given import file_option, text_of
from config.cli.operations import connect, default_stack, run_operation
from config.cli.output import Output, UserError, json_option, speaking

if TYPE_CHECKING:
    from portal.stacks.models import Stack


@click.group("settings", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the settings of the stack; change them for the next deploy."""
    if ctx.invoked_subcommand is None:
        with speaking(as_json=as_json) as output:
            _list(output, _stack())


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the settings, what waits for the next deploy, and the secrets that can be rotated."""
    with speaking(as_json=as_json) as output:
        _list(output, _stack())


@command.command("set")
@click.argument("given", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--file", type=file_option, metavar="FILE", help="NAME=VALUE lines, for values that hold a password.")
@json_option
def set_command(given: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Have the next deploy set these; an empty VALUE means the default."""
    with speaking(as_json=as_json) as output:
        lines = [line for line in text_of(file).splitlines() if line.strip() and not line.startswith("#")]
        _change(output, _pairs([*given, *lines]))


@command.command("unset")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@json_option
def unset_command(names: tuple[str, ...], as_json: bool) -> None:
    """Have the next deploy use the defaults of these."""
    with speaking(as_json=as_json) as output:
        _change(output, dict.fromkeys(names, ""))


@command.command("forget")
@json_option
def forget_command(as_json: bool) -> None:
    """Change nothing with the next deploy after all."""
    with speaking(as_json=as_json) as output:
        stack = _stack()
        from portal.stacks.settings import settings_forget

        settings_forget(stack=stack)
        _list(output, stack)


@command.command("rotate")
@click.argument("secret")
@json_option
def rotate_command(secret: str, as_json: bool) -> None:
    """Give SECRET a new value; the services that read it start anew."""
    with speaking(as_json=as_json) as output:
        connect()
        done = run_operation(output, "stack.rotate", {"secret": secret})
        services = ", ".join(done.result["services"])
        output.result(done.result, f"{secret} has a new value; started anew: {services}")


def _pairs(lines: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            # The line may hold a password, so it is named by its place.
            raise UserError(f"setting {number} is not NAME=VALUE", "write it like LOG_LEVEL=DEBUG", "usage")
        found[name.strip()] = value
    return found


def _change(output: Output, values: dict[str, str]) -> None:
    stack = _stack()
    from portal.operations.errors import InputInvalid
    from portal.stacks.settings import setting_list, settings_change

    known = [setting.variable.name for setting in setting_list(stack)]
    if strange := [name for name in values if name not in known]:
        raise UserError(f"the stack has no setting {strange[0]}", f"choose one of: {', '.join(known)}", "no_setting")
    try:
        settings_change(stack=stack, values=values)
    except InputInvalid as refused:
        name, sentence = next(iter(refused.fields.items()))
        raise UserError(f"{name}: {sentence}", "nothing was kept", "setting") from None
    _list(output, stack)


def _list(output: Output, stack: Stack) -> None:
    from portal.core import places
    from portal.stacks.rotation import secret_names
    from portal.stacks.settings import services_replaced, setting_list

    rows = [
        {
            "name": row.variable.name,
            "value": row.shown,
            "default": row.variable.default,
            "waits": row.waits,
            "services": list(row.variable.services),
        }
        for row in setting_list(stack)
    ]
    replaced, secrets = services_replaced(stack), secret_names(places.stack_spec(stack.name))
    output.result({"settings": rows, "replaced": replaced, "secrets": secrets}, _text(rows, replaced))


def _text(rows: list[dict[str, Any]], replaced: list[str]) -> str:
    lines = [f"{row['name']:<20} {row['value'] or row['default'] or '-'}{_waits(row)}" for row in rows]
    if any(row["waits"] is not None for row in rows):
        lines += [
            "",
            f"python3 manage.py deploy brings it into service and replaces: {', '.join(replaced) or 'nothing'}",
        ]
    return "\n".join(lines)


def _waits(row: dict[str, Any]) -> str:
    return "" if row["waits"] is None else f"  (next: {row['waits'] or row['default'] or '-'})"


def _stack() -> Stack:
    """
    Raises:
        UserError: nothing was set up yet, or the portal's database does not answer.
    """
    connect()
    return default_stack()
