"""`manage.py rollback`: an earlier release serves again, alone or with the data of its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from config.cli.confirming import confirm
from config.cli.operations import connect, default_stack, run_operation, user_error
from config.cli.output import UserError, json_option, speaking
from config.cli.rollout import tell

if TYPE_CHECKING:
    from portal.stacks.models import Release


@click.command("rollback")
@click.argument("number", metavar="RELEASE", type=int)
@click.option("--with-data", is_flag=True, help="Bring the data back too, as it was when the release was replaced.")
@click.option("--note", default="", metavar="TEXT", help="Why; kept with the release.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def command(number: int, with_data: bool, note: str, yes: bool, as_json: bool) -> None:
    """Have RELEASE serve again, exactly as it did: its file, its images by digest, its settings.

    Data stays as it is unless --with-data says otherwise. `releases` lists the numbers.
    """
    with speaking(as_json=as_json) as output:
        connect()
        release = _kept(number)
        if not yes:
            for line in _will(release, with_data=with_data):
                output.line(line)
            confirm(output, f"Roll back to release {number}?")
        params = {"release": number, "data": with_data, "note": note}
        tell(output, run_operation(output, "stack.rollback", params))


def _kept(number: int) -> Release:
    from portal.operations.errors import OperationRefused
    from portal.stacks.rollback import target_of

    try:
        return target_of(default_stack(), {"release": number})
    except OperationRefused as refused:
        raise user_error(refused) from None


def _will(release: Release, *, with_data: bool) -> list[str]:
    """What the roll-back would do, in words.

    Raises:
        UserError: it cannot be done that way.
    """
    from portal.stacks.diff import release_diff
    from portal.stacks.release_list import way_of_code, way_of_data
    from portal.stacks.releases import release_current

    way = way_of_data(release) if with_data else way_of_code(release)
    if way.obstacle:
        raise UserError(way.obstacle, way.remedy, "rollback_refused")
    current = release_current(release.stack)
    found = release_diff(current, release) if current else None
    lines = [f"release {release.number} of {release.created_at:%Y-%m-%d %H:%M} UTC by {release.author_name}"]
    if found:
        lines += [f"  setting {name}: {how}" for name, how in found.settings.items()]
        lines += [f"  image of {name}: {pair['after']['id'][:19]}" for name, pair in found.images.items()]
    if not release.images:
        lines.append("  without images: settings and descriptions come back, the program stays as it is installed")
    kept = f"the data of the set {way.set_id} comes back" if with_data else "the data stays as it is"
    return [*lines, f"  {kept}"]
