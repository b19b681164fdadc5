"""A whole backup set of a real small stack, taken while others write."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from backups.job import RepositoryPlace
from backups.manifest import SET_JSON, Manifest
from backups.repository import Repository
from tests.support import servers
from tests.support.sample_stack import SampleStack, run_agent, sample_stack, started, writing

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[SampleStack]:
    with sample_stack(tmp_path_factory.mktemp("backup"), postgres_server) as made:
        yield made


def opened(stack: SampleStack) -> Repository:
    place = RepositoryPlace("", str(stack.repository), stack.root / "secrets/repository")
    return Repository(place, servers.RESTIC, stack.root / "operations/cache")


def read_manifest(stack: SampleStack, snapshot: str) -> Manifest:
    return Manifest.from_json(opened(stack).dump(snapshot, SET_JSON))


@contextmanager
def upserting(stack: SampleStack) -> Iterator[list[str]]:
    """Write to Chroma past the gate, as nobody should; yields the ids that Chroma has confirmed."""
    over, confirmed = threading.Event(), list[str]()

    def write() -> None:
        while not over.is_set():
            name = str(uuid4())
            stack.upsert([name])
            confirmed.append(name)

    worker = threading.Thread(target=write)
    worker.start()
    try:
        yield confirmed
    finally:
        over.set()
        worker.join(30)


def test_a_set_taken_under_writers_is_complete_and_consistent(stack: SampleStack) -> None:
    with writing(stack) as failed:
        ended = run_agent(stack.job())
    assert not failed
    assert ended.status == 0, ended
    result = ended.last
    assert result["state"] == "complete", ended
    assert ended.steps() == ["preflight", "prepare", "freeze", "dump", "verify", "commit"]
    assert 0 < result["freeze_ms"] < 500
    manifest = read_manifest(stack, result["snapshot_id"])
    assert manifest.set_id == result["set"]
    (collection,) = manifest.collections
    assert collection.chunks == manifest.counts["chunks"] == collection.vectors
    assert collection.chunks >= 1212
    assert manifest.counts["documents"] == sum(1 for _ in manifest.files_of("documents"))
    assert len(manifest.canary) == 8
    assert all(len(question.nearest) == 10 for question in manifest.canary)
    assert any(entry.path.endswith("/data_level0.bin") for entry in manifest.files_of("vectors")), "no index file"


def test_the_next_set_adds_little_and_restores_byte_by_byte(stack: SampleStack, tmp_path: Path) -> None:
    wanted = "20260131T020000Z-4f09ac"
    ended = run_agent(stack.job(set=wanted))
    assert (ended.status, ended.last["state"], ended.last["set"]) == (0, "complete", wanted)
    repository = opened(stack)
    (snapshot,) = repository.snapshots(tags=["ragkeep", f"set:{wanted}", "stack:rag"], host="rag-production")
    assert snapshot.id == ended.last["snapshot_id"]
    assert snapshot.bytes_added < snapshot.bytes_total
    manifest = read_manifest(stack, snapshot.id)
    stored = {str(node["path"]) for node in repository.ls(snapshot.id) if node["type"] == "file"}
    assert stored == {manifest.snapshot_path(entry) for entry in manifest.files} | {SET_JSON}
    repository.restore(snapshot.id, folder="/set", target=tmp_path / "set")
    for entry in manifest.files:
        if entry.source in ("postgres", "vectors", "config"):
            assert hashlib.sha256((tmp_path / "set" / entry.path).read_bytes()).hexdigest() == entry.sha256
    assert "PASSWORD" not in (tmp_path / "set/postgres/globals.sql").read_text()
    assert not any((stack.root / "operations").glob("*/set")), "the staging stays behind"


def test_an_attempt_after_a_commit_reports_that_set_again(stack: SampleStack) -> None:
    job = stack.job(set="20260131T030000Z-4f09ac")
    first = run_agent(job)
    second = run_agent({**job, "attempt": 2})
    assert first.status == second.status == 0, second
    assert second.last["snapshot_id"] == first.last["snapshot_id"]
    assert second.last["bytes_total"] == first.last["bytes_total"]
    assert second.steps() == ["preflight", "commit"]


def test_a_writer_that_ignores_the_gate_does_not_spoil_a_set(stack: SampleStack) -> None:
    with upserting(stack) as confirmed:
        ended = run_agent(stack.job())
        assert confirmed
    assert (ended.status, ended.last["state"]) == (0, "complete"), ended
    (collection,) = read_manifest(stack, ended.last["snapshot_id"]).collections
    assert collection.vectors >= collection.chunks


def test_nothing_commits_inside_a_freeze_reads_pass_and_a_kill_opens_everything(stack: SampleStack) -> None:
    held = stack.faults / "held"
    before = {snapshot.id for snapshot in opened(stack).snapshots()}
    with upserting(stack) as confirmed:
        environment = {"RAGKEEP_FAULT": "freeze", "RAGKEEP_FAULT_FILE": str(held)}
        with started(stack.job(), **environment) as agent:
            servers.wait_until(held.exists, what="the freeze", seconds=60)
            vectors, answered = stack.count(), len(confirmed)
            for _ in range(20):
                threading.Event().wait(0.05)
                assert stack.count() == vectors, "a write was committed inside the freeze"
            assert len(confirmed) == answered
            assert not stack.gate_is_open()
            agent.kill()
            agent.wait(5)
            servers.wait_until(stack.gate_is_open, what="the write gate", seconds=2)
            servers.wait_until(lambda: len(confirmed) > answered, what="the waiting writer", seconds=2)
    assert {snapshot.id for snapshot in opened(stack).snapshots()} == before


def test_the_end_of_standard_input_ends_the_agent_and_the_freeze(stack: SampleStack) -> None:
    held = stack.faults / "orphaned"
    with started(stack.job(), RAGKEEP_FAULT="freeze", RAGKEEP_FAULT_FILE=str(held)) as agent:
        servers.wait_until(held.exists, what="the freeze", seconds=60)
        agent.close_stdin()
        assert agent.wait(5) == 1
    servers.wait_until(stack.gate_is_open, what="the write gate", seconds=2)
    stack.upsert([str(uuid4())])


def test_a_fault_outside_a_faults_folder_is_not_honoured(stack: SampleStack) -> None:
    file = stack.root / "elsewhere"
    ended = run_agent(stack.job(), RAGKEEP_FAULT="freeze", RAGKEEP_FAULT_FILE=str(file))
    assert ended.status == 0, ended
    assert not file.exists()


def test_files_are_not_removed_between_freeze_and_commit(stack: SampleStack) -> None:
    """The removal gate's exclusive side, which a removal needs, is not to be had before the set is stored."""
    seen: dict[str, bool] = {}
    with started(stack.job()) as agent, stack.connect() as remover:
        for line in map(json.loads, agent.lines()):
            if line["type"] == "step":
                query = "SELECT pg_try_advisory_lock(1380009803, 2)"
                free = bool(remover.execute(query).fetchone()[0])  # type: ignore[index]
                if free:
                    remover.execute("SELECT pg_advisory_unlock(1380009803, 2)")
                seen[f"{line['name']} {line['state']}"] = free
    assert seen["prepare started"] is True
    assert [seen[f"{step} started"] for step in ("dump", "verify", "commit")] == [False, False, False]
