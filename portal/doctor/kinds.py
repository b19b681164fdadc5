"""The operation that puts a finding right, in the process that may."""

from __future__ import annotations

from portal.doctor.fixes import FIXES, TITLES
from portal.doctor.subject import subject
from portal.operations.context import Context
from portal.operations.errors import OperationFailed, OperationRefused
from portal.operations.registry import Outcome, Params, alone, operation_kind
from portal.stacks.models import Stack

MACHINE = "machine:this"


def _joins(_target: str, params: Params) -> str:
    return str(params.get("fix") or "")


def _check(target: str, params: Params) -> None:
    if target != MACHINE or params.get("fix") not in FIXES:
        raise OperationRefused("There is no such remedy.", remedy="Follow what the finding says.")


@operation_kind("doctor.fix", title="Put right", claims=alone, joins=_joins, check=_check)
def doctor_fix(ctx: Context) -> Outcome:
    """Params `fix`: which; doing it again does nothing."""
    name = str(ctx.params["fix"])
    with ctx.step(name, TITLES[name]) as data:
        try:
            done = FIXES[name](subject(tuple(Stack.objects.values_list("name", flat=True))))
        except OSError as error:
            what = f"{error.filename}: {error.strerror}"
            raise OperationFailed(what, remedy="Do it as the owner of that file, or as root.") from None
        data["done"] = len(done)
        for line in done:
            ctx.log(line)
    return Outcome({"done": len(done)})
