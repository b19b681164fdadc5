"""What the operator chose: which set, which sources of it, exactly or merged, and what stays deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backups.errors import BackupError
from backups.restore.scope import OWN, Scope, scope_of
from portal.core import places
from portal.operations.errors import OperationRefused
from portal.operations.registry import Params
from portal.vaults.models import BackupSet, SetState
from portal.vaults.selectors import set_source

EXACT, MERGE = "exact", "merge"
STACK = "stack:"


def set_of(params: Params) -> BackupSet:
    """The set that the parameters name; its `repository` is the one it is read from, which can be that of a copy.

    Raises:
        OperationRefused: there is no such set, or it is not complete.
    """
    found = BackupSet.objects.select_related("repository").filter(pk=str(params.get("set", ""))).first()
    if found is None:
        raise OperationRefused(
            f"There is no backup set {params.get('set')!r}.", remedy="`python3 manage.py sets` lists what there is."
        )
    if found.removed_at is not None and not found.copies.exists():
        raise OperationRefused(f"The set {found.pk} was removed from its repository.", remedy="Choose another one.")
    if found.state != SetState.COMPLETE:
        raise OperationRefused(f"The set {found.pk} is {found.state}.", remedy="Choose a complete one.")
    found.repository = set_source(found)[0]
    return found


def held_sources(found: BackupSet) -> list[str]:
    """Sources that a set has; a set of which nothing was recorded is taken to have all."""
    return sorted(found.sources) or list(OWN)


@dataclass(frozen=True, slots=True)
class Choice:
    """The parameters of a restore into a stack.

    Attributes:
        stack: the stack that is restored into.
        merge: keep what was added to the stack since the set.
        keep_deleted: documents that were deleted since the set stay deleted.
        safety: take a set of the present state first.
    """

    set: BackupSet
    stack: str
    scope: Scope
    merge: bool
    keep_deleted: bool
    safety: bool

    @classmethod
    def read(cls, target: str, params: Params) -> Choice:
        """The choice, once it makes sense.

        Raises:
            OperationRefused: it does not; nothing has been touched.
        """
        found, stack = set_of(params), target.removeprefix(STACK)
        try:
            scope = scope_of(params.get("sources"), held_sources(found))
        except BackupError as refused:
            raise refusal(refused) from None
        merge = params.get("mode", EXACT) == MERGE
        choice = cls(
            found, stack, scope, merge, bool(params.get("keep_deleted", merge)), params.get("safety") is not False
        )
        choice.require_sense()
        return choice

    def require_sense(self) -> None:
        """Raises OperationRefused where the parts of the choice do not fit together."""
        if self.stack != self.set.stack and not places.stack_exists(self.stack):
            raise OperationRefused(
                f"There is no stack called {self.stack} here.",
                code="no_stack",
                remedy="Start it first, or choose another.",
            )
        if self.merge and not self.scope.data:
            raise OperationRefused(
                "Merging needs documents and postgres among the sources.",
                code="scope_refused",
                remedy="Restore exactly, or add them.",
            )
        if self.merge and self.stack != self.set.stack:
            raise OperationRefused(
                f"The set is of the stack {self.set.stack}; nothing was added to it in {self.stack}.",
                code="scope_refused",
                remedy="Restore exactly: what is in the other stack now is kept until you confirm.",
            )

    @property
    def mode(self) -> str:
        return MERGE if self.merge else EXACT

    @property
    def options(self) -> dict[str, Any]:
        """For the agent's jobs preflight, stage and swap."""
        own = self.stack == self.set.stack
        return {
            "sources": self.scope.to_json(),
            "merge": self.merge,
            "keep_deleted": self.keep_deleted and own,
            "revocations": own,
        }

    @property
    def bytes(self) -> int:
        """How much comes out of the repository."""
        sizes = {name: _size(figures) for name, figures in self.set.sources.items() if name in self.scope}
        return sum(sizes.values()) or self.set.bytes_total

    def to_json(self) -> dict[str, Any]:
        return {"sources": self.scope.to_json(), "mode": self.mode, "into": self.stack, "bytes": self.bytes}


def refusal(error: BackupError) -> OperationRefused:
    """An error of the backup library as the refusal of an operation."""
    message = error.message[:1].upper() + error.message[1:]
    return OperationRefused(f"{message}.", code=error.code, remedy=error.remedy)


def _size(figures: Any) -> int:  # noqa: ANN401 - decoded JSON of a set
    value = figures.get("bytes") if isinstance(figures, Mapping) else None
    return value if isinstance(value, int) else 0
