"""How long the parts of a restore took, and how long the next one will take by those measures."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from portal.operations.models import Operation, State, StepState
from portal.vaults.models import BackupSet, Drill, DrillState, Restore
from portal.vaults.restore_choice import Choice

# The latest few: an older measure may be of another disk or another size.
MEASURES = 5
_PHASES = {"stage.restore_": "restore", "stage.check_": "verify", "stage.verify_": "verify"}
_STEPS = {"words": "index", "stop": "stop", "swap.swap": "swap", "start": "start", "canary.canary": "canary"}


def phase_seconds(operation: Operation) -> dict[str, float]:
    """Seconds of the finished parts of a restore: safety, restore, verify, index, stop, swap, start, canary."""
    found: dict[str, float] = {}
    for step in operation.steps.filter(state=StepState.DONE).exclude(finished_at=None):
        phase = _STEPS.get(step.name) or next((v for k, v in _PHASES.items() if step.name.startswith(k)), None)
        if phase and step.finished_at:
            seconds = (step.finished_at - step.started_at).total_seconds()
            found[phase] = round(found.get(phase, 0.0) + seconds, 3)
    child = operation.children.filter(kind="backup").exclude(finished_at=None).first()
    if child and child.started_at and child.finished_at:
        found["safety"] = round((child.finished_at - child.started_at).total_seconds(), 3)
    return found


def estimate(choice: Choice) -> dict[str, Any]:
    """How long this restore will take, from what earlier ones of this installation took.

    Returns:
        `seconds` in all and `stopped_seconds` for which services stand still, each None while nothing was measured;
        `measures`, how many restores and drills the figures rest on; `bytes` that come out of the repository.
    """
    restores = [row for row in Restore.objects.all()[:50] if _measured(row)][:MEASURES]
    rates = [row.scope["bytes"] / _brought(row) for row in restores] or list(_drill_rates(choice.stack))
    stopped = [row.downtime_ms / 1000 for row in restores if row.downtime_ms is not None]
    seconds = None
    if rates:
        seconds = choice.bytes / median(rates) + (median(stopped) if stopped else 0)
        seconds += (_safety(choice.stack) or 0) if choice.safety else 0
    return {
        "seconds": None if seconds is None else round(seconds, 1),
        "stopped_seconds": round(median(stopped), 1) if stopped else None,
        "measures": len(restores) or len(rates),
        "bytes": choice.bytes,
    }


def _measured(row: Restore) -> bool:
    return bool(row.scope.get("bytes")) and _brought(row) > 0


def _brought(row: Restore) -> float:
    seconds = row.scope.get("seconds", {})
    return float(seconds.get("restore", 0)) + float(seconds.get("verify", 0))


def _drill_rates(stack: str) -> Iterable[float]:
    drills = Drill.objects.select_related("set").filter(state=DrillState.PASSED, set__stack=stack)[:MEASURES]
    for drill in drills:
        seconds = (drill.report.get("seconds") or {}).get("stage")
        if seconds and drill.set.bytes_total:
            yield drill.set.bytes_total / float(seconds)


def _safety(stack: str) -> float | None:
    taken = BackupSet.objects.filter(stack=stack, operation__state=State.SUCCEEDED).exclude(seconds=None)
    seconds = [float(row.seconds) for row in taken[:MEASURES] if row.seconds]
    return median(seconds) if seconds else None
