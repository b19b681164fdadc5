"""Who may hold what at the same time, decided inside the transaction that creates the operation."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection
from django.db.models import Q

from portal.operations.errors import OperationRefused
from portal.operations.models import Claim, Mode, Operation
from portal.operations.registry import ClaimOn, kind_title


def lock_names(names: Iterable[str]) -> None:
    """Serialise everybody who decides about these names until the transaction ends; sorted, so nobody deadlocks."""
    with connection.cursor() as cursor:
        for name in sorted(set(names)):
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def claims_check(wanted: Iterable[ClaimOn]) -> None:
    """Compare with the claims of active operations; call it between lock_names and the insert.

    Raises:
        OperationRefused: somebody holds one of them in a way that does not go together.
    """
    conflict = Q(pk__in=[])
    for claim in wanted:
        others = Q(scope=claim.scope)
        conflict |= others if claim.mode == Mode.EXCLUSIVE else others & Q(mode=Mode.EXCLUSIVE)
    holder = Claim.objects.filter(conflict).select_related("operation").first()
    if holder:
        _refuse(holder.operation, holder.scope)


def claims_insert(operation: Operation, wanted: Iterable[ClaimOn]) -> None:
    Claim.objects.bulk_create(Claim(operation=operation, scope=c.scope, mode=c.mode) for c in wanted)


def _refuse(holder: Operation, scope: str) -> None:
    thing = scope.replace(":", " ")
    raise OperationRefused(
        f"{kind_title(holder.kind)} of {holder.target.partition(':')[2]} is {holder.state} and holds the {thing}.",
        code="claimed",
        remedy="Wait until it ends, or cancel it.",
        data={"operation": str(holder.pk)},
    )
