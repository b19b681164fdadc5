"""Restores of a part, merged, elsewhere: what stops, what the agent is told, what is refused, how long it takes."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from portal.core import places
from portal.operations import worker
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.runtime.state import settle, write_state
from portal.vaults.models import BackupSet, Drill, Restore, RestoreState
from portal.vaults.restore_choice import Choice
from portal.vaults.restore_figures import estimate
from portal.vaults.restore_look import restore_look
from portal.vaults.selectors import restore_kept
from tests.support.portal_scene import TARGET, Scene, scene

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]
__all__ = ["scene"]


def start(scene: Scene, kind: str = "restore", target: str = TARGET, **params: object) -> Operation:
    return operation_start(kind=kind, target=target, params={"set": scene.set.pk, "safety": False, **params})


def finish(operation: Operation) -> Operation:
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED, operation.error
    return operation


def told(scene: Scene, kind: str) -> dict[str, Any]:
    """The options of the last job of a kind."""
    options: dict[str, Any] = json.loads((scene.folder / f"{kind}.job").read_text())["options"]
    return options


def stopped(scene: Scene) -> set[str]:
    return {service for verb, _, service in scene.runtime.calls if verb == "stop"}


def test_models_alone_stop_only_what_reads_them_also_on_the_way_back(scene: Scene) -> None:
    made = finish(start(scene, sources=["models"]))
    assert scene.calls() == ["preflight", "stage", "swap", "kept"]
    assert told(scene, "stage")["sources"] == ["models"]
    assert stopped(scene) == {"ollama"}
    assert not made.steps.filter(name="flush").exists()
    assert made.result["canary"] == {"skipped": "documents and their vectors stayed as they were"}
    finish(operation_start(kind="restore.undo", target=TARGET))
    assert stopped(scene) == {"ollama"}
    assert scene.stopped_and_started()


def test_vectors_left_out_are_not_asked_about(scene: Scene) -> None:
    made = finish(start(scene, sources=["documents", "postgres"]))
    assert stopped(scene) == {"ingest", "api", "vectordb"}
    assert made.result["canary"] == {"skipped": "the vectors are derived again"}


@pytest.mark.parametrize(
    ("params", "merge", "keep_deleted"),
    [
        ({}, False, False),
        ({"mode": "merge"}, True, True),
        ({"mode": "merge", "keep_deleted": False}, True, False),
        ({"keep_deleted": True}, False, True),
    ],
)
def test_a_merge_keeps_deletions_unless_told_otherwise(
    scene: Scene, params: dict[str, Any], merge: bool, keep_deleted: bool
) -> None:
    made = finish(start(scene, **params))
    swap = told(scene, "swap")
    assert (swap["merge"], swap["keep_deleted"], swap["revocations"]) == (merge, keep_deleted, True)
    assert told(scene, "canary")["carried"] is (merge or keep_deleted)
    assert made.result["mode"] == ("merge" if merge else "exact")


def test_the_result_tells_what_is_kept_and_where_the_time_went(scene: Scene) -> None:
    made = finish(start(scene, safety=True))
    assert made.result["kept_bytes"] == 4096
    assert {"safety", "restore", "stop", "swap", "start", "canary"} <= set(made.result["seconds"])


def other_stack(scene: Scene) -> str:
    spec = places.stack_spec("other")
    write_state(scene.runtime.paths.root("other"), settle(spec, None))
    here = scene.runtime.locate(spec)
    here.secrets.mkdir(parents=True)
    here.secret("redis_password").write_text(places.location(scene.spec).secret("redis_password").read_text())
    scene.runtime.apply(spec)
    return "stack:other"


def test_another_stack_is_restored_into_and_undone_by_itself(scene: Scene) -> None:
    target = other_stack(scene)
    finish(start(scene, target=target, keep_deleted=True))
    assert json.loads((scene.folder / "swap.job").read_text())["stack"]["name"] == "other"
    assert told(scene, "swap")["revocations"] is False, "the people of another stack"
    assert told(scene, "swap")["keep_deleted"] is False
    assert {project for verb, project, _ in scene.runtime.calls if verb == "stop"} == {"other"}
    assert restore_kept(stack="rag") is None
    with pytest.raises(OperationRefused, match="no restore"):
        operation_start(kind="restore.undo", target=TARGET)
    finish(operation_start(kind="restore.undo", target=target))
    assert Restore.objects.get().state == RestoreState.UNDONE


@pytest.mark.parametrize(
    ("target", "params", "sentence"),
    [
        (TARGET, {"sources": ["documents"]}, "rows apart"),
        (TARGET, {"sources": ["models"], "mode": "merge"}, "Merging needs documents"),
        ("stack:nowhere", {}, "no stack called nowhere"),
    ],
)
def test_choices_that_make_no_sense_are_refused_before_there_is_an_operation(
    scene: Scene, target: str, params: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OperationRefused, match=sentence):
        start(scene, target=target, **params)
    assert not Operation.objects.exists()


def test_a_merge_into_another_stack_is_refused(scene: Scene) -> None:
    with pytest.raises(OperationRefused, match="nothing was added to it in other"):
        start(scene, target=other_stack(scene), mode="merge")


def test_a_folder_and_documents_stop_nothing(scene: Scene) -> None:
    made = finish(start(scene, "restore.folder", folder="/there", sources=["models"]))
    assert (told(scene, "extract")["target"], told(scene, "extract")["sources"]) == ("/there", ["models"])
    assert made.result["files"] == {"documents": 3}
    made = finish(start(scene, "restore.documents", documents=["a.txt"]))
    assert told(scene, "readmit")["documents"] == ["a.txt"]
    assert made.result["outcome"] == {"added": 1}
    assert scene.runtime.calls == []


@pytest.mark.parametrize(
    ("kind", "params", "sentence"),
    [
        ("restore.folder", {"folder": "here"}, "no absolute path"),
        ("restore.folder", {"folder": "/there", "sources": ["models"], "documents": ["a"]}, "not both"),
        ("restore.folder", {"folder": "/there", "sources": ["wiki"]}, "no source wiki"),
        ("restore.documents", {}, "Name documents"),
        ("restore.documents", {"documents": ["a"], "lost": True}, "Name documents"),
        ("restore.documents", {"documents": [str(number) for number in range(1001)]}, "too many by name"),
    ],
)
def test_parts_of_no_sense_are_refused(scene: Scene, kind: str, params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OperationRefused, match=sentence):
        start(scene, kind, **params)


def test_the_time_is_estimated_from_what_was_measured_here(scene: Scene) -> None:
    BackupSet.objects.update(bytes_total=1000)
    scene.set.refresh_from_db()
    choice = Choice.read(TARGET, {"set": scene.set.pk, "safety": False})
    assert estimate(choice) == {"seconds": None, "stopped_seconds": None, "measures": 0, "bytes": 1000}
    Drill.objects.create(set=scene.set, state="passed", seconds=30, report={"seconds": {"stage": 10}})
    assert (estimate(choice)["seconds"], estimate(choice)["measures"]) == (10, 1)
    done = Operation.objects.create(kind="restore", target=TARGET, state=State.SUCCEEDED, join_key="done", attempt=1)
    Restore.objects.create(
        set=scene.set, operation=done, state="confirmed", downtime_ms=3000,
        scope={"bytes": 1000, "seconds": {"restore": 4, "verify": 1}}, kept_until=timezone.now() + timedelta(1),
    )  # fmt: skip
    found = estimate(choice)
    assert (found["seconds"], found["stopped_seconds"], found["measures"]) == (8, 3, 1)


def test_looking_passes_the_choice_on_and_says_it_in_sentences(scene: Scene) -> None:
    report = restore_look(TARGET, {"set": scene.set.pk, "sources": ["models"]})
    assert told(scene, "preflight")["sources"] == ["models"]
    assert "stands still during the exchange: nothing" in report["sentences"]
    assert report["sentences"][-1].startswith("time: no figure yet")
