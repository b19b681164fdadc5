"""Looking before a restore: what would change, what would stop, for how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from portal.operations.registry import Params
from portal.vaults.bare import restore_preview
from portal.vaults.restore_choice import Choice
from portal.vaults.restore_figures import estimate


def restore_look(target: str, params: Params) -> dict[str, Any]:
    """Have the agent look, and add what earlier restores took.

    Returns:
        The agent's preflight (`set`, `sources`, `stops`, `versions`, `space`, `preview`), `estimate`, `mode`,
        `keep_deleted`, `into`, and `sentences` that say all of it to people.

    Raises:
        OperationRefused: the choice makes no sense.
        OperationFailed: the restore could not even begin.
    """
    choice = Choice.read(target, params)
    report = restore_preview(choice.set, into=choice.stack, options=choice.options)
    about = {
        "estimate": estimate(choice),
        "mode": choice.mode,
        "keep_deleted": bool(choice.options["keep_deleted"]),
        "into": choice.stack,
    }
    return {**report, **about, "sentences": list(_sentences(choice, {**report, **about}))}


def _sentences(choice: Choice, report: Mapping[str, Any]) -> Iterator[str]:
    preview = report.get("preview", {})
    if choice.scope.data:
        yield from preview.get("summary", [])
        yield from _mode(choice, preview)
    else:
        yield from (line for line in preview.get("summary", []) if line.startswith("models"))
    stops = report.get("stops") or []
    yield f"stands still during the exchange: {', '.join(stops) or 'nothing'}"
    yield _time(report["estimate"])


def _mode(choice: Choice, preview: Mapping[str, Any]) -> Iterator[str]:
    lost = preview["documents"]["lost_count"]
    deleted = preview["deletions"]["count"]
    if lost and choice.merge:
        yield f"merge: {lost:,} documents that were added or changed since the set stay, and are taken in again"
    elif lost:
        yield f"exact: {lost:,} documents that were added or changed since the set go; they stay in the kept data"
    if deleted:
        yield (
            f"{deleted:,} documents were deleted after this set and "
            + ("stay deleted" if choice.options["keep_deleted"] else "come back")
        )
    if choice.scope.derives_vectors:
        yield "vectors are derived again from the restored documents; until then search finds less"


def _time(figures: Mapping[str, Any]) -> str:
    if figures["seconds"] is None:
        return "time: no figure yet, nothing was restored or drilled here so far"
    stopped = figures["stopped_seconds"]
    still = "no figure yet for the standstill" if stopped is None else f"about {stopped:.0f} s of it at a standstill"
    return (
        f"time: about {figures['seconds']:.0f} s, {still} (measured on {figures['measures']} restores or drills here)"
    )
