"""`python -m backups agent`: one job on standard input, JSON lines on standard output, logs on standard error.

Exit status: 0 done, 1 failed, 3 partial, 4 a newer attempt owns the operation.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import IO, Any

from backups import adopt, backup, listing, look, probe, readback, repository_jobs, upkeep
from backups.errors import BackupError, FencedOff, JobInvalid
from backups.job import Job
from backups.journal import (
    EXIT_ERROR,
    EXIT_FENCED,
    EXIT_OK,
    EXIT_PARTIAL,
    Context,
    Fence,
    Journal,
    agent_lock,
    watch_parent,
)
from backups.limits import in_background, lower

# Nobody waits for these; a restore is waited for.
BACKGROUND_KINDS = frozenset({"check", "copy", "measure", "prune", "repair", "verify"})

JobFunction = Callable[[Job, Context], dict[str, Any]]


class Unexpected(BackupError):  # noqa: N818 - named as its kin in backups.errors
    """A failure that no code expected: its trace goes to standard error, its kind to the result."""

    code = "unexpected"
    default_remedy = "Read the agent's log; then start the operation again."


def registered() -> dict[str, JobFunction]:
    """The job kinds and what carries them out."""
    from backups.restore.jobs import JOBS  # restores import much that a backup does not need

    own: dict[str, JobFunction] = {
        "backup": backup.run,
        "init": repository_jobs.init,
        "stats": repository_jobs.stats,
        "snapshots": repository_jobs.snapshots,
        "probe": probe.probe,
        "look": look.look,
        "adopt": adopt.adopt,
        "describe": adopt.describe,
        "check": upkeep.check,
        "repair": upkeep.repair,
        "forget": upkeep.forget,
        "prune": upkeep.prune,
        "unlock": upkeep.unlock,
        "copy": upkeep.copy,
        "measure": upkeep.measure,
        "verify": readback.verify,
        "tree": listing.tree,
    }
    return {**own, **JOBS}


def main(stdin: IO[str] | None = None, stdout: IO[str] | None = None) -> int:
    """Carry out the one job of standard input; returns the exit status."""
    source = stdin or sys.stdin
    journal = Journal(stdout or sys.stdout)
    try:
        job = Job.from_json(source.readline())
        watch_parent(source)
        result = _carry_out(job, journal)
    except BackupError as error:
        journal.error(error)
        return EXIT_FENCED if isinstance(error, FencedOff) else EXIT_ERROR
    except Exception as error:
        traceback.print_exc()
        journal.error(Unexpected(f"{type(error).__name__}: {error}"))
        return EXIT_ERROR
    journal.result(**result)
    return EXIT_PARTIAL if result["state"] == "partial" else EXIT_OK


def _carry_out(job: Job, journal: Journal) -> dict[str, Any]:
    carry_out = registered().get(job.kind)
    if carry_out is None:
        raise JobInvalid(f"job.kind: nothing carries out {job.kind}")
    fence = Fence(job.fence, job.attempt)
    fence.check()
    with agent_lock(job.work):
        context = Context(journal, fence, job.kind)
        if job.kind != "backup":  # which lowers itself, but for its freeze
            lower(in_background(job.limits) if job.kind in BACKGROUND_KINDS else job.limits, journal.log)
        upkeep.clear_dead(job, context)
        return carry_out(job, context)


if __name__ == "__main__":
    raise SystemExit(main())
