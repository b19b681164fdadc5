"""The operation `stack.rollback`: a release of old serves again, alone or with the data of its time.

It becomes a release of its own, so that the list of releases tells what served when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.registry import Outcome, Params, alone, kind_get, operation_kind
from portal.runtime.protocol import Problem, Rendered
from portal.runtime.spec import StackSpec
from portal.stacks.deploy import check_note, roll_out
from portal.stacks.models import Release, ReleaseState, Stack
from portal.stacks.releases import release_current, release_get, rendered_of, spec_of
from portal.stacks.selectors import stack_of
from portal.stacks.updates.fetching import lost_fetch

WITH_DATA = "Roll back code and data: the set taken before the next release comes back with it."


def _joins(_target: str, params: Params) -> str:
    return f"{params.get('release')} {'data' if params.get('data') else 'code'}"


def _check(target: str, params: Params) -> None:
    stack = stack_of(target)
    check_note(params)
    release = target_of(stack, params)
    if params.get("data"):
        kind_get("restore").check(target, {"set": set_of(release)})
    elif obstacle := schema_obstacle(release, _schema_now(stack)):
        raise OperationRefused(obstacle, code="schema_newer", remedy=WITH_DATA)


def target_of(stack: Stack, params: Params) -> Release:
    """The release that the parameters name.

    Raises:
        OperationRefused: it serves, it never did, or there is none of that number.
    """
    number = params.get("release")
    release = release_get(stack, number if isinstance(number, int) else 0)
    if release.state == ReleaseState.CURRENT:
        raise OperationRefused(f"Release {release.number} serves already.", code="serves")
    if release.state != ReleaseState.KEPT:
        raise OperationRefused(
            f"Release {release.number} never served.", code="never_served", remedy="Choose one that is kept."
        )
    return release


def set_of(release: Release) -> str:
    """The backup set with the data as it was at the end of the release's time.

    Raises:
        OperationRefused: none was taken.
    """
    later = release.stack.releases.filter(number__gt=release.number).exclude(set_before="").order_by("number")
    found = later.values_list("set_before", flat=True).first()
    if not found:
        raise OperationRefused(
            f"No backup set was taken when release {release.number} was replaced: no later release touched its data.",
            code="no_set",
            remedy="Roll back the code alone, or restore a set of your choice afterwards.",
        )
    return str(found)


def schema_obstacle(release: Release, now: dict[str, Any]) -> str:
    """Why the code of a release cannot work with the schema of today; empty when it can, or nobody can tell.

    Args:
        now: what the service says: `database`, its schema, and `oldest`, the oldest code that still works with it.
    """
    known, present = str(release.schema.get("code") or ""), str(now.get("database") or "")
    oldest = str(now.get("oldest") or "")
    if not known or not present or known >= (oldest or present):
        return ""
    return (
        f"The schema of the database is {present} by now, and the code of release {release.number} knows {known}: "
        f"it cannot work with anything that needs code of {oldest or present} or later."
    )


def _schema_now(stack: Stack) -> dict[str, Any]:
    current = release_current(stack)
    return dict(current.schema) if current else {}


class Former:
    """A release of old, with the set of its time where the data comes back too."""

    def __init__(self, release: Release, set_id: str, note: str) -> None:
        self._release = release
        self._set = set_id
        self._note = note or f"Back to release {release.number}."

    def spec(self) -> StackSpec:
        return spec_of(self._release)

    def problems(self) -> Sequence[Problem]:
        """None: what the files say by now is no part of it, and its ports are looked at before anything stops."""
        return ()

    def provide(self, ctx: Context) -> None:
        """Its images were kept; one that somebody removed all the same comes by its digest."""
        lost_fetch(self.rendered())

    def rendered(self) -> Rendered:
        return rendered_of(self._release)

    def set_to_restore(self) -> str:
        return self._set

    def note(self) -> str:
        return self._note


@operation_kind("stack.rollback", title="Roll back", claims=alone, joins=_joins, check=_check)
def stack_rollback(ctx: Context) -> Outcome:
    """Have a release of old serve again.

    Params: `release` (its number); `data` (false), with the data of its time; `note`; `backup` (true).
    """
    stack = stack_of(ctx.operation.target)
    with ctx.step("choose", "Find the release", undoing=True) as data:
        known = ctx.recorded("choose")
        release = release_get(stack, known["release"]) if "release" in known else target_of(stack, ctx.params)
        chosen = known.get("set") or (set_of(release) if ctx.params.get("data") else "")
        data |= {"release": release.number, "set": chosen}
    return roll_out(ctx, Former(release, chosen, str(ctx.params.get("note") or "")))
