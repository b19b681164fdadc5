"""The operation `cleanup`: what was chosen goes, as far as it can still go."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone

from portal.cleanup.pieces import TITLES, Sort
from portal.cleanup.services import pieces, pieces_remove
from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.models import State
from portal.operations.registry import ClaimOn, Outcome, Params, exclusive, operation_kind, shared
from portal.stacks.models import Stack

SORTS = [str(sort) for sort in Sort]


def _claims(target: str, _params: Params) -> Sequence[ClaimOn]:
    # Nothing is deployed meanwhile: that could need an image between the look and the removal.
    stacks = Stack.objects.order_by("name")
    return [exclusive(target), *(shared(stack.target) for stack in stacks)]


def _joins(_target: str, params: Params) -> str:
    return ",".join(sorted(params.get("sorts") or []))


def _check(_target: str, params: Params) -> None:
    sorts = params.get("sorts")
    if not isinstance(sorts, list) or not sorts or not set(sorts) <= set(SORTS):
        raise OperationRefused("Nothing was chosen to be cleaned up.", remedy=f"Choose of: {', '.join(SORTS)}.")


@operation_kind("cleanup", title="Clean-up", claims=_claims, joins=_joins, check=_check)
def cleanup(ctx: Context) -> Outcome:
    """Params `sorts`: which sorts of things go. What has come into use since somebody looked stays."""
    found = pieces(now=timezone.now())
    freed, removed, left = 0, 0, list[str]()
    for sort in (sort for sort in Sort if sort in ctx.params["sorts"]):
        with ctx.step(str(sort), TITLES[sort]) as data:
            gone, stayed = pieces_remove([piece for piece in found if piece.sort is sort])
            data |= {"removed": len(gone), "freed_bytes": sum(piece.bytes or 0 for piece in gone)}
            for sentence in stayed:
                ctx.log(sentence, level="warning")
            removed, freed, left = removed + len(gone), freed + data["freed_bytes"], [*left, *stayed]
    return Outcome(
        {"removed": removed, "freed_bytes": freed, "left": len(left)}, State.PARTIAL if left else State.SUCCEEDED
    )
