"""Short jobs for an agent outside of any operation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from portal.operations.asking import by_worker
from portal.vaults.agents import agent_opened

# Trying out a place that answers slowly takes its time; nobody looks at a page for longer.
PATIENCE_SECONDS = 120.0


@by_worker(patience=PATIENCE_SECONDS)
def errand(*, job: dict[str, Any]) -> dict[str, Any]:
    """Have an agent do the job: its last line, and under `stderr` the end of what it wrote there. The folder of its
    work is gone afterwards.

    Raises:
        OperationFailed: no agent could be started, or nobody did the job in time.
    """
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
