"""`manage.py tidy`: what takes room and is needed by nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from config.cli.operations import EXIT_PARTIAL, connect, run_started
from config.cli.output import Output, json_option, megabytes, speaking

if TYPE_CHECKING:
    from portal.cleanup.pieces import Piece

SORTS = ("images", "volumes", "logs", "work")


@click.command("tidy")
@click.option("--only", "sorts", multiple=True, type=click.Choice(SORTS), help="Only this sort of things; repeatable.")
@click.option("--yes", is_flag=True, help="Remove it; without, nothing is touched.")
@json_option
@click.pass_context
def command(ctx: click.Context, sorts: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Show what takes room and is needed by nothing: old images, rotated logs, work folders and the like.

    Exit status 3 when something of it could not be removed.
    """
    with speaking(as_json=as_json) as output:
        connect()
        from portal.cleanup.services import cleanup_look

        found = [piece for piece in cleanup_look() if not sorts or piece.sort in sorts]
        if not yes or not found:
            output.result(_fields(found), _text(found))
            return
        result = _remove(output, sorted({str(piece.sort) for piece in found}))
        output.result(result, f"Removed {result['removed']}, {megabytes(result['freed_bytes'])} freed.")
    if result["left"]:
        ctx.exit(EXIT_PARTIAL)


def _remove(output: Output, sorts: list[str]) -> dict[str, Any]:
    from portal.doctor.kinds import MACHINE
    from portal.operations.services import operation_start

    params = {"sorts": sorts}
    done = run_started(output, lambda: operation_start(kind="cleanup", target=MACHINE, params=params))
    return dict(done.result)


def _fields(found: list[Piece]) -> dict[str, Any]:
    return {
        "pieces": [{"sort": str(piece.sort), "name": piece.name, "bytes": piece.bytes} for piece in found],
        "bytes": sum(piece.bytes or 0 for piece in found),
    }


def _text(found: list[Piece]) -> str:
    if not found:
        return "There is nothing to clean up."
    lines = [f"{piece.sort:<8} {megabytes(piece.bytes):>9}  {piece.name}" for piece in found]
    total = megabytes(sum(piece.bytes or 0 for piece in found))
    return "\n".join([*lines, "", f"{total} in all; python3 manage.py tidy --yes removes it."])
