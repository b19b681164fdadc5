"""What must not become a backup set, and what the operator is told instead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backups import chroma, freeze, process, restic
from backups.errors import GateBusy
from backups.fields import Fields
from backups.job import Job, RepositoryPlace
from backups.repository import Repository
from backups.sources import vectors
from tests.support import servers
from tests.support.sample_stack import SampleStack, moved_away, refused, run_agent, sample_stack, started

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[SampleStack]:
    with sample_stack(tmp_path_factory.mktemp("failures"), postgres_server) as made:
        yield made


def repository_of(stack: SampleStack) -> Repository:
    place = RepositoryPlace("", str(stack.repository), stack.root / "secrets/repository")
    return Repository(place, servers.RESTIC, stack.root / "operations/cache")


def with_repository(stack: SampleStack, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    job = stack.job()
    job["repository"].update(changes)
    return job


def test_a_wrong_password_is_told_apart(stack: SampleStack) -> None:
    wrong = stack.root / "secrets/wrong"
    wrong.write_text("not this one\n")
    assert refused(run_agent(with_repository(stack, password_file=str(wrong)))) == "repository_key_wrong"


def test_a_repository_folder_that_is_gone_is_not_made_anew(stack: SampleStack) -> None:
    with moved_away(stack.repository):
        assert refused(run_agent(stack.job())) == "repository_unreachable"
        assert not stack.repository.exists()
        stack.repository.mkdir()
        assert refused(run_agent(stack.job())) == "repository_missing"


def test_another_repository_at_the_same_address_is_refused(stack: SampleStack) -> None:
    ended = run_agent(with_repository(stack, id="0" * 64))
    assert refused(ended) == "repository_other"


def test_init_never_touches_a_repository_that_is_there_or_was_known(stack: SampleStack) -> None:
    ended = run_agent(stack.job("init"))
    assert refused(ended) == "repository_exists"
    known = ended.last["data"]["id"]
    with moved_away(stack.repository):
        job = stack.job("init")
        job["repository"]["id"] = known
        assert refused(run_agent(job)) == "repository_exists"
        assert not stack.repository.exists()


def test_a_missing_document_and_a_damaged_model_make_the_set_partial(stack: SampleStack) -> None:
    path = stack.add_document("this one will be lost")
    (stack.documents / path).unlink()
    (blob,) = [found for found in (stack.models / "blobs").iterdir() if found.read_bytes().startswith(b"weights")]
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + b"!")
    try:
        ended = run_agent(stack.job())
    finally:
        (stack.documents / path).write_text("this one will be lost")
        blob.write_bytes(content)
    assert ended.status == 3
    assert ended.last["state"] == "partial"
    assert ended.last["missing"] == [
        f"document {path}: missing",
        f"model smollm2:135m: blobs/{blob.name}: content does not match its checksum",
    ]
    stats, listed = run_agent(stack.job("stats")).last, run_agent(stack.job("snapshots")).last
    assert stats["bytes"] > 0
    assert stats["id"] == listed["id"] == ended.last["repository_id"]
    assert [(found["set"], found["partial"]) for found in listed["snapshots"]] == [(ended.last["set"], True)]


def test_a_document_that_vanishes_before_it_is_stored_makes_the_set_partial(stack: SampleStack) -> None:
    """restic itself exits 0 then: only the comparison of what it stored with the database finds it."""
    path = stack.add_document("this one will vanish")
    restic = stack.root / "restic-late"
    restic.write_text(
        f'#!/bin/sh\ncase " $* " in *" backup "*) rm {stack.documents / path};; esac\nexec {servers.RESTIC} "$@"\n'
    )
    restic.chmod(0o755)
    try:
        ended = run_agent(stack.job(tools={"restic": str(restic), "pg_bin": str(servers.PG_BIN)}))
    finally:
        (stack.documents / path).write_text("this one will vanish")
    assert ended.status == 3, ended
    assert ended.last["missing"] == [str(stack.documents / path)]
    (snapshot,) = repository_of(stack).snapshots(tags=[f"set:{ended.last['set']}"])
    assert snapshot.partial
    assert snapshot.id == ended.last["snapshot_id"]


def test_a_vector_store_without_the_chunks_of_the_database_fails(stack: SampleStack, tmp_path: Path) -> None:
    chroma.prepare(tmp_path / "vectors/live")
    job = stack.job(set="20260131T040000Z-4f09ac")
    job["stack"]["volumes"]["vectors"] = str(tmp_path / "vectors")
    ended = run_agent(job)
    assert refused(ended) == "staging_invalid"
    assert ended.steps("failed") == ["verify"]
    assert not repository_of(stack).snapshots(tags=[f"set:{job['set']}"])


def test_a_database_that_does_not_answer_is_refused(stack: SampleStack) -> None:
    job = stack.job()
    job["stack"]["postgres"]["port"] = servers.free_port()
    assert refused(run_agent(job)) == "source_missing"


def test_a_dump_tool_of_another_major_version_is_refused(stack: SampleStack, tmp_path: Path) -> None:
    (tmp_path / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.4'\n")
    (tmp_path / "pg_dump").chmod(0o755)
    ended = run_agent(stack.job(tools={"restic": str(servers.RESTIC), "pg_bin": str(tmp_path)}))
    assert refused(ended) == "tool_too_old"


def test_writers_that_never_let_go_are_reported(stack: SampleStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze, "DRAIN_SECONDS", (0.1, 0.1))
    server = Job.read(Fields(stack.job(), "job")).require_stack().postgres
    warm = vectors.WarmCopy(stack.vectors, stack.root / "unused")
    (stack.root / "unused").mkdir()
    with stack.connect() as writer:
        writer.execute("SELECT pg_advisory_lock_shared(1380009803, 1)")
        with (
            pytest.raises(GateBusy),
            freeze.frozen(server, stack.vectors, stack.root / "unused", warm, manifests=dict),
        ):
            pytest.fail("frozen although a writer holds the gate")
    with freeze.frozen(server, stack.vectors, stack.root / "unused", warm, manifests=dict) as (moment, snapshot):
        assert moment.attempt == 1
        assert snapshot.counts()["users"] == 1


def test_an_attempt_that_was_fenced_off_stores_nothing(stack: SampleStack) -> None:
    job = stack.job()
    before = len(repository_of(stack).snapshots())
    with started(job) as agent:
        lines = []
        for line in map(json.loads, agent.lines()):
            lines.append(line)
            if (line.get("name"), line.get("state")) == ("prepare", "started"):
                Path(job["fence"]).write_text("2")
        assert agent.wait(30) == 4
    assert lines[-1]["code"] == "fenced_off"
    assert len(repository_of(stack).snapshots()) == before


def test_a_lock_of_a_dead_process_is_cleared_and_a_living_ones_is_not(stack: SampleStack) -> None:
    repository = repository_of(stack)
    assert repository.clear_dead_locks() == []
    environment = restic.environment(
        str(stack.repository), stack.root / "secrets/repository", stack.root / "operations/cache/restic"
    )
    argv = (str(servers.RESTIC), "backup", "--stdin")
    with process.Running(argv, env=environment) as holder:
        servers.wait_until(lambda: any((stack.repository / "locks").iterdir()), what="the lock")
        assert repository.clear_dead_locks() == []
        holder.kill()
        holder.wait(5)
        (cleared,) = repository.clear_dead_locks()
        assert cleared.pid == holder.pid
    assert not any((stack.repository / "locks").iterdir())


def test_a_lock_that_is_let_go_of_between_two_looks_is_no_failure(stack: SampleStack) -> None:
    """Those whom a killed agent had started let go of theirs while its successor looks."""
    gone = stack.repository / "locks" / ("0a" * 32)
    gone.symlink_to("nowhere")
    try:
        assert repository_of(stack).clear_dead_locks() == []
    finally:
        gone.unlink()


def test_storing_stands_back_behind_whoever_asks_or_uploads(stack: SampleStack, tmp_path: Path) -> None:
    told, slow = tmp_path / "nice", tmp_path / "restic"
    slow.write_text(f'#!/bin/sh\ncase "$*" in *" backup "*) nice > {told};; esac\nexec {servers.RESTIC} "$@"\n')
    slow.chmod(0o755)
    job = stack.job()
    job["tools"]["restic"] = str(slow)
    assert run_agent(job).last["state"] == "complete"
    assert told.read_text().strip() == "10"
