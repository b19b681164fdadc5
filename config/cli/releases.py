"""`manage.py releases`: what was deployed, by whom and why; what two releases differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from config.cli.operations import connect, default_stack, user_error
from config.cli.output import Output, json_option, speaking

if TYPE_CHECKING:
    from portal.stacks.diff import ReleaseDiff
    from portal.stacks.models import Stack


@click.command("releases")
@click.option("--diff", "pair", nargs=2, type=int, metavar="A B", help="What changed from release A to release B.")
@json_option
def command(pair: tuple[int, int] | None, as_json: bool) -> None:
    """List the releases of the stack, newest first, or compare two of them. Values of settings are never shown."""
    with speaking(as_json=as_json) as output:
        connect()
        stack = default_stack()
        if pair:
            _compare(output, stack, *pair)
        else:
            _list(output, stack)


def _list(output: Output, stack: Stack) -> None:
    from portal.stacks.release_list import release_summary, releases_of

    found = [release_summary(release) for release in releases_of(stack)]
    text = "\n".join(_row(one) for one in found) or "no release yet: python3 manage.py deploy makes one"
    output.result({"releases": found}, text)


def _row(one: dict[str, Any]) -> str:
    when = (one["deployed_at"] or one["created_at"])[:16].replace("T", " ")
    return f"{one['release']:>4}  {one['state']:<9}  {when}  {one['author']:<24}  {one['note']}".rstrip()


def _compare(output: Output, stack: Stack, before: int, after: int) -> None:
    from portal.operations.errors import OperationRefused
    from portal.stacks.diff import release_diff
    from portal.stacks.releases import release_get

    try:
        found = release_diff(release_get(stack, before), release_get(stack, after))
    except OperationRefused as refused:
        raise user_error(refused) from None
    output.result(found.as_dict(), "\n".join(_told(found)))


def _told(found: ReleaseDiff) -> list[str]:
    if found.is_empty:
        return [f"releases {found.before} and {found.after} are the same"]
    lines = [f"service {name}: {how}" for name, how in found.services.items()]
    lines += [f"setting {name}: {how}" for name, how in found.settings.items()]
    for name, pair in found.images.items():
        before, after = (f"{pair[side]['reference']} {pair[side]['id'][:19]}" for side in ("before", "after"))
        lines.append(f"image of {name}: {before} -> {after}")
    lines += [f"{service}, {name}: {how}" for service, files in found.files.items() for name, how in files.items()]
    return [*lines, *found.lines]
