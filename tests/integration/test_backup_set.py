"""A whole backup set of a real small stack, taken while others write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from backups.manifest import SET_JSON
from backups.trees import NAMES
from tests.support import servers
from tests.support.sample_stack import SampleStack, run_agent, sample_stack, started, upserting, writing

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[SampleStack]:
    with sample_stack(tmp_path_factory.mktemp("backup"), postgres_server) as made:
        yield made


def test_a_set_taken_under_writers_is_complete_and_consistent(stack: SampleStack) -> None:
    with writing(stack) as failed:
        ended = run_agent(stack.job())
    assert not failed
    assert ended.status == 0, ended
    result = ended.last
    assert result["state"] == "complete", ended
    assert ended.steps() == ["preflight", "prepare", "freeze", "dump", "verify", "commit"]
    assert 0 < result["freeze_ms"] < 500
    manifest = stack.manifest(result["snapshot_id"])
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
    repository = stack.opened()
    (snapshot,) = repository.snapshots(tags=["ragkeep", f"set:{wanted}", "stack:rag"], host="rag-production")
    assert snapshot.id == ended.last["snapshot_id"]
    assert snapshot.bytes_added < snapshot.bytes_total
    manifest = stack.manifest(snapshot.id)
    stored = {str(node["path"]) for node in repository.ls(snapshot.id) if node["type"] == "file"}
    assert stored == {manifest.snapshot_path(entry) for entry in manifest.files} | {SET_JSON, f"/set/{NAMES}"}
    repository.restore(snapshot.id, folder="/set", target=tmp_path / "set")
    for entry in manifest.files:
        if entry.source in ("postgres", "vectors", "config"):
            assert hashlib.sha256((tmp_path / "set" / entry.path).read_bytes()).hexdigest() == entry.sha256
    assert "PASSWORD" not in (tmp_path / "set/postgres/globals.sql").read_text()
    assert not any((stack.root / "operations").glob("*/set")), "the staging stays behind"


def test_the_removal_gate_holds_until_the_commit_and_a_writer_past_the_gate_spoils_nothing(stack: SampleStack) -> None:
    """And an attempt that follows the commit, as after a kill in between, reports the same set again."""
    job = stack.job(set="20260131T030000Z-4f09ac")
    lines, removable = [], {}
    assert stack.removal_gate_is_free()
    with upserting(stack) as confirmed, started(job) as agent:
        for line in map(json.loads, agent.lines()):
            lines.append(line)
            if line["type"] == "step":
                removable[f"{line['name']} {line['state']}"] = stack.removal_gate_is_free()
        assert agent.wait(30) == 0, lines
    assert confirmed
    assert stack.removal_gate_is_free()
    # The agent does not wait for us to look: only steps that lie wholly between freeze and commit can be judged.
    assert [removable[f"{step} started"] for step in ("dump", "verify", "commit")] == [False, False, False]
    first = lines[-1]
    assert first["state"] == "complete"
    second = run_agent({**job, "attempt": 2})
    assert second.status == 0, second
    assert second.last["snapshot_id"] == first["snapshot_id"]
    assert second.last["bytes_total"] == first["bytes_total"]
    assert second.steps() == ["preflight", "commit"]


def test_the_end_of_standard_input_ends_the_agent_and_the_freeze(stack: SampleStack) -> None:
    reached = stack.arm("freeze")
    with started(stack.job()) as agent:
        servers.wait_until(reached.exists, what="the freeze", seconds=60)
        agent.close_stdin()
        assert agent.wait(5) == 1
    servers.wait_until(stack.gate_is_open, what="the write gate", seconds=2)
    stack.upsert([str(uuid4())])
