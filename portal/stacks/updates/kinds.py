"""The operation `stack.updates`: ask the registries what they have. It changes nothing of the stack."""

from __future__ import annotations

from portal.core import places
from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.faults import runtime_faults
from portal.operations.registry import Outcome, Params, operation_kind, unclaimed
from portal.stacks.projects.reading import demand_fetched
from portal.stacks.selectors import stack_of
from portal.stacks.updates.services import KIND, updates_look


def _check(target: str, _params: Params) -> None:
    demand_fetched(stack_of(target))
    if not places.runtime().features.images:
        raise OperationRefused(
            "Services that are processes of this host have no images.",
            code="no_images",
            remedy="Images need the runtime compose.",
        )


@operation_kind(KIND, title="Look for newer images", claims=unclaimed, check=_check)
def stack_updates(ctx: Context) -> Outcome:
    """Look, and keep what was found. A registry that cannot be reached is a line of the log."""
    with ctx.step("look", "Ask the registries of the images") as data, runtime_faults():
        found = updates_look(stack_of(ctx.operation.target))
        data["images"] = len(found)
    for look in found:
        if look.fault:
            ctx.log(look.fault)
    return Outcome(
        {
            "images": len(found),
            "newer_images": sum(bool(look.newer_digest) for look in found),
            "newer_versions": sum(bool(look.newer_tag) for look in found),
            "not_told": sum(bool(look.fault) for look in found),
        }
    )
