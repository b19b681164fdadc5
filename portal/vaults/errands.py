"""Short jobs for an agent outside of any operation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from django.conf import settings

from portal.operations.asking import by_worker
from portal.operations.errors import OperationFailed
from portal.vaults.agents import agent_opened, demand_own_work

# Trying out a place that answers slowly takes its time; nobody looks at a page for longer.
PATIENCE_SECONDS = 120.0
# Looks, and the making of a repository: whoever shows pages may ask for no more than that.
KINDS = frozenset({"look", "preflight", "probe", "init"})


@by_worker(patience=PATIENCE_SECONDS)
def errand(*, job: dict[str, Any]) -> dict[str, Any]:
    """Have an agent do the job: its last line, and under `stderr` the end of what it wrote there. The folder of its
    work is gone afterwards.

    Raises:
        OperationFailed: no agent could be started, nobody did the job in time, or it is none for an errand.
    """
    if job["kind"] not in KINDS:
        raise OperationFailed(f"The job {job['kind']!r} is done by an operation alone.", code="no_errand")
    demand_own_work(job, Path(settings.VAR_DIR))
    work = Path(job["work"])
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with agent_opened(job) as agent:
            agent.send(json.dumps(job) + "\n")
            last = [line for line in agent.lines() if line.startswith("{")][-1:]
            agent.wait()
            found: dict[str, Any] = json.loads(last[0]) if last else {}
            return {**found, "stderr": agent.stderr[-500:]}
    finally:
        shutil.rmtree(work, ignore_errors=True)
