"""Hooks around a plan's backup, its limits in the agent's job, and what the set remembers of its plan."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from portal.operations import reaper, worker
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation, State
from portal.operations.services import operation_cancel, operation_start
from portal.vaults import agent
from portal.vaults import backup as backing_up
from portal.vaults.models import BackupSet, Plan
from portal.vaults.planrules import HookFields
from portal.vaults.plans import plan_add, plan_run_now, plan_update
from tests.support import portal_scene, servers
from tests.support.portal_scene import TARGET, Scene

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

scene = portal_scene.scene

# Writes its environment, a word and what it was told into a file, then ends as told.
PROGRAM = """
import json, os, pathlib, sys
file, status, *words = sys.argv[1:]
told = {name: value for name, value in os.environ.items()}
with pathlib.Path(file).open("a") as out:
    out.write(json.dumps({"env": told, "words": words, "cwd": os.getcwd()}) + "\\n")
print("hook says", *words)
print("and complains", file=sys.stderr)
sys.exit(int(status))
"""


def hook(folder: Path, on: str, *words: str, status: int = 0, seconds: int = 30) -> HookFields:
    command = [sys.executable, "-c", PROGRAM, str(folder / f"hook.{on}"), str(status), *words]
    return {"on": on, "command": command, "timeout_seconds": seconds}


def told(folder: Path, on: str) -> list[dict[str, Any]]:
    path = folder / f"hook.{on}"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def plan_with(*hooks: HookFields) -> Plan:
    return plan_add(name="nightly", stack="rag", repository="default", hooks=list(hooks), limits={"nice": 7})


def run(plan: Plan) -> Operation:
    operation = plan_run_now(plan=plan)
    worker.execute(operation.pk)
    operation.refresh_from_db()
    return operation


def test_hooks_run_around_the_backup_with_facts_and_nothing_of_ours(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "of the worker")
    plan = plan_with(
        hook(tmp_path, "before", "two words"),
        hook(tmp_path, "success"),
        hook(tmp_path, "failure"),
        hook(tmp_path, "always"),
    )
    done = run(plan)
    assert done.state == State.SUCCEEDED, done.error
    (before,), (after,), (always,) = (told(tmp_path, on) for on in ("before", "success", "always"))
    assert told(tmp_path, "failure") == []
    assert before["words"] == ["two words"]
    assert before["cwd"] == "/"
    facts = {name: value for name, value in before["env"].items() if name.startswith("RAGKEEP_")}
    assert facts == {
        "RAGKEEP_PLAN": "nightly",
        "RAGKEEP_STACK": "rag",
        "RAGKEEP_REPOSITORY": "default",
        "RAGKEEP_OPERATION": str(done.pk),
        "RAGKEEP_SET": done.result["set_id"],
        "RAGKEEP_HOOK": "before",
        "RAGKEEP_STATE": "starting",
        "RAGKEEP_ERROR": "",
    }
    assert set(before["env"]) - set(facts) <= {"PATH", "HOME", "LANG", "LC_CTYPE", "PWD"}
    assert [found["env"]["RAGKEEP_STATE"] for found in (after, always)] == ["succeeded", "succeeded"]
    assert [step.name.partition(".")[0] for step in done.steps.all()] == ["hook", "backup", "hook", "hook"]
    log = [line.text for line in done.log_lines.all()]
    assert "hook says two words" in log
    assert "and complains" in log
    made = BackupSet.objects.get(pk=done.result["set_id"])
    assert (made.plan, made.environment) == (plan, "production")


def test_a_hook_before_that_fails_fails_the_backup_and_the_hooks_after_still_run(scene: Scene, tmp_path: Path) -> None:
    plan = plan_with(hook(tmp_path, "before", status=3), hook(tmp_path, "failure"), hook(tmp_path, "always"))
    done = run(plan)
    assert done.state == State.FAILED
    assert done.error["code"] == "hook_failed"
    assert "before the backup failed with status 3" in done.error["message"]
    assert "plan nightly" in done.error["remedy"]
    assert scene.calls() == []
    (failure,), (always,) = told(tmp_path, "failure"), told(tmp_path, "always")
    assert failure["env"]["RAGKEEP_ERROR"] == always["env"]["RAGKEEP_ERROR"] == "hook_failed"


def test_a_hook_after_that_fails_is_reported_and_changes_no_set(scene: Scene, tmp_path: Path) -> None:
    missing: HookFields = {"on": "success", "command": ["/nowhere/at/all"], "timeout_seconds": 5}
    done = run(plan_with(hook(tmp_path, "success", status=1), missing, hook(tmp_path, "always")))
    assert done.state == State.SUCCEEDED
    assert BackupSet.objects.get(pk=done.result["set_id"]).state == "complete"
    first, second, third = done.result["hooks"]
    assert "failed with status 1" in first["error"]
    assert (second["program"], bool(second["error"])) == ("all", True)
    assert third == {"on": "always", "program": Path(sys.executable).name, "error": ""}
    assert done.log_lines.filter(level="error").count() == 2


def test_a_failed_backup_is_told_to_the_hooks_of_failure(scene: Scene, tmp_path: Path) -> None:
    (scene.folder / "backup.fail").touch()
    done = run(plan_with(hook(tmp_path, "success"), hook(tmp_path, "failure")))
    assert (done.state, done.error["code"]) == (State.FAILED, "broken")
    assert told(tmp_path, "success") == []
    assert told(tmp_path, "failure")[0]["env"]["RAGKEEP_STATE"] == "failed"


def test_a_hook_that_takes_too_long_is_killed_with_all_it_started(scene: Scene, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    words = (
        "import pathlib, subprocess; child = subprocess.Popen(['sleep', '600']); "
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid)); child.wait()"
    )
    began = time.monotonic()
    done = run(plan_with({"on": "before", "command": [sys.executable, "-c", words], "timeout_seconds": 2}))
    assert time.monotonic() - began < 20
    assert "did not end within 2 s and was killed" in done.error["message"]
    child = int(pid.read_text())
    servers.wait_until(lambda: not _lives(child), what="the child of the hook killed")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_cancelled_backup_ends_its_hook_and_runs_only_those_of_always(scene: Scene, tmp_path: Path) -> None:
    words = f"import pathlib, time; pathlib.Path({str(tmp_path / 'began')!r}).touch(); time.sleep(600)"
    slow: HookFields = {"on": "before", "command": [sys.executable, "-c", words], "timeout_seconds": 600}
    operation = plan_run_now(plan=plan_with(slow, hook(tmp_path, "failure"), hook(tmp_path, "always")))

    def work() -> None:
        worker.execute(operation.pk)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    servers.wait_until(lambda: (tmp_path / "began").exists(), what="the hook")
    operation_cancel(operation=operation)
    thread.join(30)
    operation.refresh_from_db()
    assert operation.state == State.CANCELLED
    assert told(tmp_path, "failure") == []
    assert told(tmp_path, "always")[0]["env"]["RAGKEEP_STATE"] == "cancelled"


def test_a_hook_that_had_ended_is_not_run_again_by_the_next_worker(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, armed = agent.run_agent, [True]

    def dying(*args: object, **more: object) -> object:
        if armed:
            armed.clear()
            raise OperationalError("the worker is gone")
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(backing_up, "run_agent", dying)
    operation = plan_run_now(plan=plan_with(hook(tmp_path, "before"), hook(tmp_path, "success")))
    with pytest.raises(OperationalError):
        worker.execute(operation.pk)
    assert reaper.reap() == 1
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt) == (State.SUCCEEDED, 2)
    assert len(told(tmp_path, "before")) == len(told(tmp_path, "success")) == 1


def test_the_job_carries_the_limits_and_sources_of_the_plan(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[dict[str, object]] = []
    real = agent.run_agent

    def noting(ctx: object, job: dict[str, object], **more: object) -> object:
        jobs.append(job)
        return real(ctx, job, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(backing_up, "run_agent", noting)
    plan = plan_update(plan=plan_with(), sources=["postgres", "documents"], limits={"upload_kib": 500, "io_idle": True})
    assert run(plan).state == State.SUCCEEDED
    assert jobs[0]["limits"] == {"upload_kib": 500, "io_idle": True}
    assert jobs[0]["sources"] == ["documents", "postgres", "portal"], "a blank machine needs the portal in every set"


def test_somebody_who_may_not_operate_cannot_set_hooks(scene: Scene, tmp_path: Path, django_user_model: type) -> None:
    reader = django_user_model.objects.create_user("reader", "reader@example.org", "x")  # type: ignore[attr-defined]
    plan = plan_with()
    with pytest.raises(OperationRefused, match="Only administrators"):
        plan_update(plan=plan, user=reader, hooks=[hook(tmp_path, "before")])
    assert not plan.hooks.exists()


def test_a_plan_with_hooks_insists_on_a_run_of_its_own(scene: Scene, tmp_path: Path) -> None:
    plan = plan_with(hook(tmp_path, "before"))
    operation_start(kind="backup", target=TARGET)
    with pytest.raises(OperationRefused, match="holds the backup"):
        plan_run_now(plan=plan)
    assert Plan.objects.get().last_operation is None
