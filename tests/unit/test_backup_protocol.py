"""The agent's protocol: jobs in, lines out, the fence and the lock; and set.json."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backups.errors import FencedOff, JobInvalid, ManifestInvalid, OperationBusy, SourceEmpty
from backups.job import Job
from backups.journal import Context, Fence, Journal, agent_lock
from backups.manifest import (
    Blob,
    Collection,
    FileEntry,
    Manifest,
    Model,
    Question,
    SourceFigures,
)

JOB: dict[str, Any] = {
    "kind": "backup", "operation": "op", "attempt": 2, "fence": "/w/fence", "work": "/w/op", "set": None, "options": {},
    "stack": {
        "name": "rag", "environment": "production", "vectordb_url": "", "ollama_url": "", "api_url": "",
        "internal_token_file": None, "config": "/conf",
        "volumes": {"documents": "/d", "vectors": "/v", "models": "/m", "index": "/i"},
        "postgres": {"host": "h", "port": 5432, "user": "rag", "database": "rag", "password_file": "/p"},
    },
    "repository": {"id": None, "url": "/r", "password_file": "/rp"},
    "tools": {"restic": "/bin/restic", "pg_bin": "/bin"},
}  # fmt: skip


def changed(path: str, value: object) -> str:
    job = deepcopy(JOB)
    *parents, last = path.split(".")
    target = job
    for name in parents:
        target = target[name]
    target[last] = value
    return json.dumps(job)


def test_a_job_is_read() -> None:
    job = Job.from_json(json.dumps(JOB))
    assert job.require_stack().host == "rag-production"
    assert job.require_stack().config == (Path("/conf"),)
    assert job.require_stack().postgres.port == 5432
    assert job.require_repository().id == ""
    assert job.cache == Path("/w/cache")


def test_config_may_be_a_list() -> None:
    job = Job.from_json(changed("stack.config", ["/a", "/b"]))
    assert job.require_stack().config == (Path("/a"), Path("/b"))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "bake", "job.kind: expected one of backup,"),
        ("attempt", "2", "job.attempt: expected a whole number, got '2'"),
        ("attempt", True, "job.attempt: expected a whole number, got True"),
        ("stack.postgres.port", None, "job.stack.postgres.port: expected a whole number, got None"),
        ("stack.volumes.models", "", "job.stack.volumes.models: expected a text that is not empty, got ''"),
        ("stack.config", [1], "job.stack.config[0]: expected a text, got 1"),
        ("stack.postgres", 3, "job.stack.postgres: expected an object, got 3"),
        ("options", [], "job.options: expected an object, got []"),
        ("tools", {}, "job.tools.restic: expected a text, got nothing"),
    ],
)
def test_an_invalid_job_names_the_path(path: str, value: object, message: str) -> None:
    with pytest.raises(JobInvalid) as raised:
        Job.from_json(changed(path, value))
    assert raised.value.message.startswith(message)


def test_a_job_that_is_not_json_is_refused() -> None:
    with pytest.raises(JobInvalid, match="one line of JSON"):
        Job.from_json("{")


@pytest.mark.parametrize("part", ["stack", "repository", "set"])
def test_a_job_without_a_part_is_refused_where_the_part_is_needed(part: str) -> None:
    job = Job.from_json(changed(part, None))
    with pytest.raises(JobInvalid, match=rf"^job\.{part}: "):
        getattr(job, f"require_{part}")()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_steps_are_reported_with_their_outcome(tmp_path: Path) -> None:
    out = io.StringIO()
    context = Context(Journal(out), Fence(tmp_path / "fence", 1))
    with context.step("dump") as told:
        told["bytes"] = 7
    started, done = lines(out)
    assert (started["name"], started["state"]) == ("dump", "started")
    assert done["state"] == "done"
    assert done["data"] == {"seconds": context.seconds["dump"], "bytes": 7}


def test_a_failing_step_reports_code_and_remedy(tmp_path: Path) -> None:
    out = io.StringIO()
    context = Context(Journal(out), Fence(tmp_path / "fence", 1))
    with pytest.raises(SourceEmpty), context.step("preflight"):
        raise SourceEmpty("nothing there", path="/d")
    failed = lines(out)[-1]
    assert failed["state"] == "failed"
    assert failed["data"]["code"] == "source_empty"
    assert failed["data"]["data"] == {"path": "/d"}


def test_the_fence_stops_an_older_attempt_before_its_next_step(tmp_path: Path) -> None:
    fence = tmp_path / "fence"
    out = io.StringIO()
    context = Context(Journal(out), Fence(fence, 2))
    fence.write_text("2\n")
    with context.step("one"):
        fence.write_text("3\n")
    with pytest.raises(FencedOff), context.step("two"):
        pytest.fail("the step must not begin")
    assert [line["name"] for line in lines(out)] == ["one", "one"]


def test_a_fence_that_cannot_be_understood_stops_everybody(tmp_path: Path) -> None:
    (tmp_path / "fence").write_text("")
    with pytest.raises(FencedOff):
        Fence(tmp_path / "fence", 9).check()


def test_progress_is_throttled_per_stage_and_always_ends() -> None:
    out, now = io.StringIO(), [0.0]
    journal = Journal(out, clock=lambda: now[0])
    for moment, stage, fraction in (
        (0.0, "a", 0.1),
        (0.1, "a", 0.2),
        (0.3, "a", 0.3),
        (0.31, "b", 0.0),
        (0.32, "b", 1),
    ):
        now[0] = moment
        journal.progress(stage, fraction)
    assert [(line["stage"], line["fraction"]) for line in lines(out)] == [
        ("a", 0.1), ("a", 0.3), ("b", 0.0), ("b", 1),
    ]  # fmt: skip


def test_a_second_agent_of_one_operation_is_refused(tmp_path: Path) -> None:
    with agent_lock(tmp_path / "op"), pytest.raises(OperationBusy), agent_lock(tmp_path / "op", seconds=0):
        pytest.fail("two agents at once")
    with agent_lock(tmp_path / "op", seconds=0):
        pass


def manifest() -> Manifest:
    return Manifest(
        set_id="20260131T020000Z-4f09ac",
        operation="op",
        state="complete",
        stack="rag",
        environment="production",
        host="rag-production",
        taken_at=datetime(2026, 1, 31, 2, tzinfo=UTC),
        freeze_ms=52.5,
        versions={"postgres": "18.4", "postgres_major": 18},
        counts={"users": 1},
        collections=(Collection("kb", 16, "all-minilm", "sha256:0", "{}", 3, 2),),
        models=(Model("m:1", "manifests/r/l/m/1", "sha256:1", (Blob("sha256:ab", 5),)),),
        sources={"documents": SourceFigures(1, 2), "postgres": SourceFigures(2, 9, {"tables": {"public.a": 1}})},
        roots={"documents": "/d/live", "models": "/m/live"},
        files=(
            FileEntry("documents", "aa/aab", 2, "aab"),
            FileEntry("models", "blobs/sha256-ab", 5, "ab"),
            FileEntry("models", "models/manifests/r/l/m/1", 7, "cd"),
            FileEntry("postgres", "postgres/database.dump", 9, "ef"),
        ),
        canary=(Question("kb", (0.25, -1.0), ("a", "b")),),
        left_out=("gone:1",),
    )


def test_a_manifest_survives_its_file(tmp_path: Path) -> None:
    manifest().write(tmp_path / "set.json")
    assert Manifest.from_json((tmp_path / "set.json").read_text()) == manifest()


def test_a_manifest_knows_where_its_files_lie_in_the_snapshot() -> None:
    made = manifest()
    assert [made.snapshot_path(entry) for entry in made.files] == [
        "/d/live/aa/aab",
        "/m/live/blobs/sha256-ab",
        "/set/models/manifests/r/l/m/1",
        "/set/postgres/database.dump",
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", 3, "set.format: this set was made by a newer Ragkeep"),
        ("taken_at", "yesterday", "set.taken_at: expected a date and time"),
        ("state", "fine", "set.state: expected one of complete, partial"),
        ("counts", {"users": "one"}, "set.counts.users: expected a whole number"),
        ("files", [{"source": "x"}], "set.files[0].path: expected a text"),
    ],
)
def test_an_invalid_manifest_names_the_path(path: str, value: object, message: str) -> None:
    text = json.dumps({**json.loads(manifest().to_json()), path: value})
    with pytest.raises(ManifestInvalid) as raised:
        Manifest.from_json(text)
    assert raised.value.message.startswith(message)
