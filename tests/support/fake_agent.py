"""Speaks the agent's protocol and does nothing else: for tests of what the portal does around the agent.

`fake_agent.py FOLDER`: a file KIND.json in the folder replaces parts of the result, KIND.fail makes that job fail,
KIND.die kills the process once, KIND.wait makes it wait for ever after creating KIND.waiting; `calls` gets one line for
each job, KIND.job the last one itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

RESULTS: dict[str, dict[str, Any]] = {
    "backup": {
        "state": "complete",
        "snapshot_id": "abc",
        "repository_id": "repo",
        "taken_at": "2026-01-31T02:30:00+00:00",
        "freeze_ms": 12.5,
        "bytes_total": 1000,
        "bytes_added": 10,
        "counts": {"documents": 3},
        "sources": {},
        "missing": [],
        "freeze": {},
        "seconds": {},
        "anomalies": [],
        "detail": {},
    },
    "init": {"id": "repo"},
    "preflight": {
        "preview": {"summary": [], "documents": {"gained_count": 0, "lost_count": 0}, "deletions": {"count": 0}}
    },
    "kept": {"bytes": 4096},
    "extract": {"target": "/there", "files": {"documents": 3}},
    "readmit": {"outcome": {"added": 1}, "names": ["a.txt"]},
    "canary": {
        "passed": True,
        "checks": [],
        "canary": {"passed": True, "questions": 3, "first_hits": 3},
        "counts": {},
        "short": [],
    },
}
STEPS = {"preflight": ["find_set"], "stage": ["find_set", "restore_documents"]}


def say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(folder: Path) -> int:
    job = json.loads(sys.stdin.readline())
    kind = job["kind"]
    with (folder / "calls").open("a") as calls:
        calls.write(f"{kind} {job['operation']} {job['attempt']}\n")
    (folder / f"{kind}.job").write_text(json.dumps(job))
    for name in STEPS.get(kind, [kind]):
        say(type="step", name=name, state="started", data={})
        say(type="progress", stage=name, fraction=0.5, counts={"files": 1}, note="")
        if (folder / f"{kind}.wait").exists():
            (folder / f"{kind}.waiting").touch()
            threading.Event().wait()
        if (folder / f"{kind}.die").exists():
            (folder / f"{kind}.die").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (folder / f"{kind}.fail").exists():
            say(type="step", name=name, state="failed", data={})
            say(type="error", code="broken", message=f"The {kind} broke.", remedy="Mend it.", data={})
            return 1
        say(type="step", name=name, state="done", data={})
    if kind == "stage":
        (Path(job["work"]) / "staged.json").touch()
    if (folder / f"{kind}.differ").exists():
        wrong = {"name": "documents", "expected": 3, "found": 2, "ok": False}
        say(type="result", state="ok", passed=False, checks=[wrong], canary={"passed": True})
        return 0
    made = job.get("set") or f"20260131T023000Z-{os.getpid():06x}"
    answer = folder / f"{kind}.json"
    told = json.loads(answer.read_text()) if answer.exists() else {}
    say(type="result", **{"state": "ok", "set": made, **RESULTS.get(kind, {}), **told})
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
