"""`manage.py restore`: bring a set back, undo that, or confirm it."""

from __future__ import annotations

from typing import Any

import click

from config.cli.operations import choose_set, connect, run_operation, user_error
from config.cli.output import Output, UserError, json_option, speaking


@click.command("restore")
@click.option("--set", "wanted", metavar="latest|ID", help="Which set to restore.")
@click.option("--undo", is_flag=True, help="Put the data from before the last restore back.")
@click.option("--confirm", is_flag=True, help="Keep the last restore and remove the data from before it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-safety", is_flag=True, help="Take no backup of the present state first.")
@json_option
def command(wanted: str | None, undo: bool, confirm: bool, yes: bool, no_safety: bool, as_json: bool) -> None:
    """Restore a backup set over the running stack.

    The data from before is kept for 72 hours: --undo brings it back, --confirm removes it.
    """
    with speaking(as_json=as_json) as output:
        if sum([wanted is not None, undo, confirm]) != 1:
            raise UserError(
                "say exactly one of --set, --undo, --confirm", "python3 manage.py restore --set latest", "usage"
            )
        connect()
        if wanted is not None:
            _restore(output, wanted, yes=yes, safety=not no_safety)
        else:
            _close(output, "restore.undo" if undo else "restore.confirm", yes=yes)


def _restore(output: Output, wanted: str, *, yes: bool, safety: bool) -> None:
    found = choose_set(wanted)
    if not yes:
        _show_preview(output, found)
        _ask(output, found.stack)
    operation = run_operation(output, "restore", {"set": found.pk, "safety": safety})
    made = operation.result
    downtime = made["downtime_ms"]
    down = "" if downtime is None else f" The stack was down for {downtime / 1000:.1f} s."
    output.result(
        {**made, "operation": str(operation.pk)},
        f"set {made['set_id']} is back.{down}\nThe data from before is kept until {made['kept_until']}: "
        "restore --undo brings it back.",
    )


def _close(output: Output, kind: str, *, yes: bool) -> None:
    from portal.vaults.selectors import restore_kept

    kept = restore_kept()
    if kept is None:
        raise UserError("no restore can be undone or confirmed", "restore --set latest makes one", "nothing_kept")
    if not yes:
        _ask(output, kept.set.stack)
    operation = run_operation(output, kind, {"restore": str(kept.operation_id)})
    done = "undone" if kind == "restore.undo" else "confirmed"
    made = operation.result
    if made.get("warning"):
        output.line(f"warning: {made['warning']}")
    output.result({**made, "operation": str(operation.pk)}, f"the restore of {kept.set_id} is {done}")


def _show_preview(output: Output, found: Any) -> None:  # noqa: ANN401 - a BackupSet, whose module needs Django
    from portal.operations.errors import OperationError
    from portal.vaults.bare import restore_preview

    output.step("looking at what the restore would change")
    try:
        preview = restore_preview(found).get("preview", {})
    except OperationError as refused:
        raise user_error(refused) from None
    output.done()
    output.line(f"set {found.pk}, taken {found.taken_at:%Y-%m-%d %H:%M} UTC")
    for line in preview.get("summary", []):
        output.line(f"  {line}")


def _ask(output: Output, stack: str) -> None:
    """Have the name of the stack typed.

    Raises:
        UserError: something else was typed, or nobody can be asked.
    """
    output.done()
    try:
        typed = click.prompt(f"Type the name of the stack ({stack}) to go on", err=True)
    except click.Abort:
        raise UserError("nobody confirmed it", "add --yes to go on without a question", "unconfirmed") from None
    if typed.strip() != stack:
        raise UserError(
            f"that is not {stack}; nothing was changed", f"type {stack} when asked, or add --yes", "unconfirmed"
        )
