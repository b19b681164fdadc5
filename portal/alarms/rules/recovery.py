"""What would make a recovery fail, or what one left to be done."""

from __future__ import annotations

from datetime import datetime, timedelta

from portal.alarms.conditions import Condition
from portal.alarms.models import Severity
from portal.vaults.keyproof import keyproof_due, keyproofs_last
from portal.vaults.models import KeyProof, Repository
from portal.vaults.recover import plans_held
from portal.vaults.selectors import repositories_in_use

# Nobody has to prove the key of a repository in the week in which it was made.
GRACE = timedelta(days=7)


def key_unproven(now: datetime) -> list[Condition]:
    """For 90 days nobody has shown that the key of a repository can be found outside of this machine."""
    remedy = "Type it, from where it is kept, on the page Recovery: without it nobody can read the sets."
    rows = [row for row in repositories_in_use() if now - row.created_at > GRACE]
    proofs = keyproofs_last(rows)
    return [
        Condition(f"repository.key {row.scope}", Severity.WARNING, _unproven(row, proofs.get(row.pk)), remedy)
        for row in rows
        if keyproof_due(row, proofs.get(row.pk), now=now)
    ]


def _unproven(row: Repository, last: KeyProof | None) -> str:
    since = f"since {last.created_at:%Y-%m-%d}" if last else "yet"
    return f"Nobody has proven {since} to hold the key of the repository {row.name}"


def held(_now: datetime) -> list[Condition]:
    """This installation was recovered, and nobody has said yet that the old machine is gone."""
    names = ", ".join(plan.name for plan in plans_held())
    if not names:
        return []
    title = f"This installation was recovered and backs nothing up by itself; held: {names}"
    remedy = "When the old machine is gone for good, take over on the page Recovery."
    return [Condition("portal.held", Severity.BAD, title, remedy)]
