"""Starting, stopping and restarting a stack, and what its selectors say."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from portal.core.models import AuditEntry
from portal.operations import reaper, worker
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.runtime.errors import EngineGoneError
from portal.runtime.spec import StackSpec
from portal.stacks.logs import stack_lines
from portal.stacks.models import StackState
from portal.stacks.reconciling import stacks_reconcile
from portal.stacks.selectors import stack_get_default, stack_services
from portal.stacks.services import stack_started
from tests.support import portal_scene
from tests.support.portal_scene import TARGET, Scene

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

scene = portal_scene.scene


def run(kind: str, **params: str) -> Operation:
    operation = operation_start(kind=kind, target=TARGET, params=params)
    worker.execute(operation.pk)
    operation.refresh_from_db()
    return operation


def states() -> dict[str, str]:
    return {row.name: row.state for row in stack_services(stack_get_default())}


def test_stop_and_start_are_remembered(scene: Scene) -> None:
    assert run("stack.stop").state == State.SUCCEEDED
    assert set(states().values()) == {"stopped"}
    assert stack_get_default().state == StackState.STOPPED
    assert run("stack.start").state == State.SUCCEEDED
    assert set(states().values()) == {"healthy"}
    assert stack_get_default().state == StackState.RUNNING


def test_start_from_the_command_line_is_remembered_too(scene: Scene) -> None:
    run("stack.stop")
    stack_started("rag")
    assert stack_get_default().state == StackState.RUNNING
    stack_started("rag")
    assert AuditEntry.objects.filter(action="stack.started", target=TARGET).count() == 1


def test_restart_of_one_service_leaves_the_others(scene: Scene) -> None:
    assert run("stack.restart", service="frontend").state == State.SUCCEEDED
    assert scene.runtime.calls == [("stop", "rag", "frontend"), ("start", "rag", "frontend")]
    assert stack_lines(stack_get_default(), ["frontend"])[-1].text == "started"


def test_worker_that_dies_within_a_restart_still_starts(scene: Scene) -> None:
    scene.runtime.crash = OperationalError("crash")
    operation = operation_start(kind="stack.restart", target=TARGET, params={})
    with pytest.raises(OperationalError):
        worker.execute(operation.pk)
    assert set(states().values()) == {"stopped"}
    assert reaper.reap() == 1
    worker.execute(operation.pk)
    assert set(states().values()) == {"healthy"}
    assert sum(verb == "stop" for verb, _, _ in scene.runtime.calls) == len(scene.spec.services)


def test_service_that_does_not_come_up_fails_the_operation_with_its_remedy(scene: Scene) -> None:
    run("stack.stop")
    scene.runtime.faults["api"] = "no configuration"
    operation = run("stack.start")
    assert (operation.state, operation.error["code"]) == (State.FAILED, "service_failed")
    assert operation.error["remedy"]


@pytest.mark.parametrize(
    ("target", "params", "sentence"),
    [("stack:other", {}, "no stack called other"), (TARGET, {"service": "mail"}, "no service mail")],
)
def test_what_does_not_exist_is_refused(scene: Scene, target: str, params: dict[str, str], sentence: str) -> None:
    with pytest.raises(OperationRefused, match=sentence):
        operation_start(kind="stack.stop", target=target, params=params)


def test_what_changes_by_itself_is_put_right_in_stacks_that_are_meant_to_run(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def reconcile(spec: StackSpec) -> None:
        seen.append(spec.project)
        raise EngineGoneError("unix:///nowhere", "gone")

    monkeypatch.setattr(scene.runtime, "reconcile", reconcile)
    stacks_reconcile()
    stacks_reconcile()
    assert seen == ["rag", "rag"], "one that does not answer is asked again"
    run("stack.stop")
    stacks_reconcile()
    assert len(seen) == 2
