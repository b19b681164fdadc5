"""How a repository has been looked after, from the database alone."""

from __future__ import annotations

from dataclasses import dataclass

from portal.operations.models import ACTIVE, FINISHED, Operation
from portal.vaults.measures import Suspect, foreign_or_forged
from portal.vaults.models import BackupSet, Repository, SetState

LAST = 8


@dataclass(frozen=True, slots=True)
class UpkeepView:
    """What a page shows.

    `read_parts`: slices read since the cycle began; `whole`: complete sets; `copied`: how many of them the second
    repository has; `active`: operations at work on it; `last`: the newest that ended.
    """

    row: Repository
    read_parts: int
    whole: int
    copied: int
    suspects: list[Suspect]
    active: list[Operation]
    last: list[Operation]

    @property
    def forged(self) -> list[Suspect]:
        return [suspect for suspect in self.suspects if suspect.forged]


def upkeep_get(name: str) -> UpkeepView:
    """One repository under maintenance.

    Raises:
        Repository.DoesNotExist
    """
    row = Repository.objects.select_related("copy_to", "replaced_by").get(name=name)
    whole = BackupSet.objects.filter(repository=row, state=SetState.COMPLETE, removed_at=None)
    operations = Operation.objects.filter(target=row.scope)
    return UpkeepView(
        row=row,
        read_parts=row.check_part % row.check_parts if not row.checked_at else row.check_part,
        whole=whole.count(),
        copied=whole.filter(copies__repository=row.copy_to).count() if row.copy_to else 0,
        suspects=foreign_or_forged(row),
        active=list(operations.filter(state__in=ACTIVE)),
        last=list(operations.filter(state__in=FINISHED).exclude(kind="repository.stats")[:LAST]),
    )
