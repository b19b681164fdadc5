"""What the portal keeps of a set, and what it finds suspicious beside the set before."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.core import places
from portal.operations import worker
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.vaults.anomalies import compared
from portal.vaults.jobs import stack_place
from portal.vaults.models import BackupSet, ExtraSource, Plan, SetState, SourceKind
from portal.vaults.selectors import set_last_good, set_latest
from tests.support import portal_scene
from tests.support.portal_scene import TARGET, Scene

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

MEGABYTE = 1 << 20
FIRST = datetime(2026, 2, 1, tzinfo=UTC)

scene = portal_scene.scene


def sources(**sizes: int) -> dict[str, dict[str, int]]:
    return {name: {"files": 1, "bytes": size} for name, size in sizes.items()}


def taken(scene: Scene, night: int, *, plan: Plan | None = None, **told: Any) -> BackupSet:  # noqa: ANN401 - JSON
    """A set that an agent reports as `told`, taken so many nights after the first."""
    answer = {"taken_at": (FIRST + timedelta(days=night)).isoformat(), **told}
    (scene.folder / "backup.json").write_text(json.dumps(answer))
    params = {"repository": "default", **({"plan": plan.name} if plan else {})}
    params |= {"sources": told["detail"]["sources"]} if told.get("detail") else {}
    operation: Operation = operation_start(kind="backup", target=TARGET, params=params)
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED, operation.error
    return BackupSet.objects.get(operation=operation)


def told_of(made: BackupSet) -> set[tuple[str, str]]:
    return {(found["code"], found["source"]) for found in made.anomalies}


def test_a_set_that_shrank_against_the_one_before_says_so_and_why(scene: Scene) -> None:
    plan = Plan.objects.create(name="nightly", stack="rag", repository=scene.set.repository, shrink_percent=20)
    large = sources(documents=100 * MEGABYTE, postgres=10 * MEGABYTE, config=90_000, wiki=MEGABYTE)
    first = taken(scene, 0, plan=plan, sources=large, counts={"documents": 50, "chunks": 900, "users": 4})
    assert first.anomalies == []
    small = sources(documents=79 * MEGABYTE, postgres=9 * MEGABYTE, config=60_000)
    second = taken(scene, 1, plan=plan, sources=small, counts={"documents": 39, "chunks": 0, "users": 4})
    assert second.state == SetState.COMPLETE
    assert told_of(second) == {("shrunk", "documents"), ("empty", "vectors"), ("gone", "wiki")}
    assert second.detail["compared_with"] == first.pk
    assert "documents fell by 22 %, from 50 to 39" in " ".join(found["message"] for found in second.anomalies).lower()
    assert second.operation is not None
    assert second.operation.result["anomalies"] == second.anomalies
    third = taken(scene, 2, plan=plan, sources=small, counts={"documents": 39, "chunks": 0, "users": 4})
    assert third.anomalies == [], "it is compared with the set right before it"


def test_a_set_of_chosen_sources_is_compared_with_its_like_and_never_the_last_good_one(scene: Scene) -> None:
    whole = taken(scene, 0, sources=sources(documents=9 * MEGABYTE, vectors=5 * MEGABYTE), counts={"documents": 5})
    chosen = {"sources": ["documents"]}
    part = taken(scene, 1, sources=sources(documents=MEGABYTE), counts={"documents": 5}, detail=chosen)
    assert (part.anomalies, "compared_with" in part.detail) == ([], False)
    assert (set_last_good(), set_latest()) == (whole, whole)
    again = taken(scene, 2, sources=sources(documents=0), counts={"documents": 5}, detail=chosen)
    assert told_of(again) == {("empty", "documents")}
    assert again.detail["compared_with"] == part.pk


def test_what_the_agent_reports_is_kept_with_the_set(scene: Scene) -> None:
    found = {"code": "vectors_apart", "source": "vectors", "message": "Apart."}
    detail = {"versions": {"postgres": "18.0"}, "questions": 8, "missing": [], "missing_count": 0}
    made = taken(scene, 0, anomalies=[found], seconds={"freeze": 0.2}, freeze={"attempt": 1})
    BackupSet.objects.filter(pk=made.pk).delete()
    (scene.folder / "backup.json").write_text(json.dumps({"detail": detail, "seconds": {"freeze": 0.2}}))
    operation = operation_start(kind="backup", target=TARGET, params={"repository": "default"})
    worker.execute(operation.pk)
    kept = BackupSet.objects.get(operation=operation)
    assert made.anomalies == [found]
    assert kept.detail["versions"] == {"postgres": "18.0"}
    assert kept.detail["steps"] == {"freeze": 0.2}


def test_noise_is_no_anomaly() -> None:
    before = BackupSet(sources=sources(config=60_000, vectors=10 * MEGABYTE), counts={"documents": 10, "messages": 9})
    after = sources(config=1_000, vectors=8 * MEGABYTE)
    stack = ["config", "vectors"]
    assert compared(before=before, sources=after, counts={"documents": 7}, percent=30, stack=stack) == []
    shrunk = compared(before=before, sources=after, counts={"documents": 6}, percent=30, stack=stack)
    assert [(found["code"], found["source"]) for found in shrunk] == [("shrunk", "documents")]


def test_sources_of_the_stacks_own_servers_are_told_by_todays_addresses(scene: Scene) -> None:
    ExtraSource.objects.create(stack="rag", name="queue", kind=SourceKind.REDIS, settings={"own": True})
    ExtraSource.objects.create(
        stack="rag", name="wiki", kind=SourceKind.POSTGRES, settings={"own": True, "database": "wiki"}
    )
    ExtraSource.objects.create(stack="other", name="x", kind=SourceKind.REDIS, settings={"own": True})
    place = stack_place(places.stack_spec("rag"))
    queue, wiki = place["extra"]
    assert "own" not in queue
    assert queue["password_file"].endswith("redis_password")
    assert (wiki["database"], wiki["port"], wiki["user"]) == ("wiki", place["postgres"]["port"], "rag")
