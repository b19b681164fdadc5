"""The operation `set.verify`: every byte of one set is read back and compared with what is recorded in it."""

from __future__ import annotations

from collections.abc import Sequence

from portal.operations.context import Context
from portal.operations.errors import OperationRefused
from portal.operations.registry import ClaimOn, Outcome, Params, operation_kind, shared
from portal.vaults.agent import run_agent
from portal.vaults.damage import set_read_record
from portal.vaults.jobs import agent_job
from portal.vaults.models import BackupSet


def _set_of(params: Params) -> BackupSet:
    """The set that the parameters name, damaged or not.

    Raises:
        OperationRefused: there is none, or it was removed.
    """
    named = str(params.get("set", ""))
    found = BackupSet.objects.select_related("repository").filter(pk=named, removed_at=None).first()
    if found is None:
        raise OperationRefused(
            f"There is no backup set {named!r}.", code="no_set", remedy="`python3 manage.py sets` lists what there is."
        )
    return found


def _claims(target: str, params: Params) -> Sequence[ClaimOn]:
    return [shared(target), shared(_set_of(params).repository.scope)]


def _joins(_target: str, params: Params) -> str:
    return str(params.get("set"))


@operation_kind("set.verify", title="Reading a set back", claims=_claims, joins=_joins)
def verify(ctx: Context) -> Outcome:
    """Read the set `set` back; what differs fails the operation, and the set is offered for no restore any more."""
    found = _set_of(ctx.params)
    job = agent_job(
        ctx,
        "verify",
        repository=found.repository,
        set_id=found.pk,
        options={"snapshot": found.snapshot_id},
    )
    result = run_agent(ctx, job)
    set_read_record(found=found, result=result)
    return Outcome({"set_id": found.pk, "files": result["files"], "bytes": result["bytes"]})
