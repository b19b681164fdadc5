"""Restore jobs on a small real stack: stage, swap, ask, undo; and everything that must be refused."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backups.errors import FencedOff, RepositoryKeyWrong, SourceMissing, SpaceShort
from backups.job import Job
from backups.journal import Context, Fence, Journal
from backups.manifest import Manifest
from backups.restore import preflight, sets
from backups.restore.errors import (
    CanaryFailed,
    CanaryUnreached,
    NothingStaged,
    SetDamaged,
    SetIncomplete,
    SetTooNew,
    SetUnknown,
)
from backups.restore.jobs import JOBS, target_of
from backups.restore.stage import Stager
from backups.sources.documents import file_sha256
from tests.support import servers
from tests.support.restorable import COLLECTION, SmallStack, alter_set, back_up, internal_api

pytestmark = pytest.mark.integration


def perform(job: Job) -> dict[str, Any]:
    return JOBS[job.kind](job, context_of(job))


def context_of(job: Job) -> Context:
    job.work.mkdir(parents=True, exist_ok=True)
    return Context(Journal(io.StringIO()), Fence(job.fence, job.attempt))


def facts(stack: SmallStack) -> dict[str, Any]:
    """What an operator would miss: documents with their content, rows, vectors, models."""
    with stack.server.connect(stack.database) as connection:
        rows = connection.execute("SELECT document_id, name, sha256 FROM backup_documents ORDER BY 1").fetchall()
    files = sorted(path for path in stack.live("documents").rglob("*") if path.is_file())
    blobs = sorted(path.name for path in (stack.live("models") / "blobs").glob("*"))
    return {
        "rows": rows,
        "files": [(path.name, file_sha256(path)) for path in files],
        "blobs": blobs,
        "sqlite": (stack.live("vectors") / "chroma.sqlite3").exists(),
    }


@contextmanager
def running(stack: SmallStack) -> Iterator[None]:
    """Chroma and the internal side of the service on the stack's live data."""
    with servers.chroma(stack.live("vectors")) as vectordb, internal_api(stack, vectordb.url) as api_url:
        stack.api_url, stack.vectordb_url = api_url, vectordb.url
        yield


LATE = b"uploaded a moment after the freeze"


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres
) -> Iterator[tuple[SmallStack, str]]:
    """A filled stack and its set; tests that change anything work on copies."""
    stack = SmallStack(tmp_path_factory.mktemp("original"), postgres_server, f"rag_{uuid4().hex[:6]}")
    stack.create()
    stack.fill()
    stack.add_file(LATE)
    set_id = back_up(stack)
    yield stack, set_id
    stack.server.drop(stack.database)


@pytest.fixture
def stack(original: tuple[SmallStack, str], tmp_path: Path) -> Iterator[SmallStack]:
    """A copy of the original: same volumes and repository, a database of its own."""
    source, _ = original
    shutil.copytree(source.root, tmp_path / "stack")
    copy = SmallStack(tmp_path / "stack", source.postgres, f"rag_{uuid4().hex[:6]}")
    with copy.server.connect() as connection:
        connection.execute(f'CREATE DATABASE "{copy.database}" TEMPLATE "{source.database}"'.encode())
    yield copy
    for name in copy.server.oids():
        if name.startswith(copy.database):
            copy.server.drop(name)


@pytest.fixture
def set_id(original: tuple[SmallStack, str]) -> str:
    return original[1]


def test_a_destroyed_stack_comes_back_answers_as_before_and_can_be_undone(stack: SmallStack, set_id: str) -> None:
    late = stack.live("documents") / (digest := sha256(LATE).hexdigest())[:2] / digest
    late.unlink()
    before = facts(stack)
    stack.destroy()
    destroyed = facts(stack)
    assert destroyed != before

    staged = perform(stack.job("stage", set_id="latest"))
    inode = (stack.volume("documents") / f"staging-{stack.operation}").stat().st_ino
    assert perform(stack.job("stage", set_id="latest"))["files"] == staged["files"]
    assert (stack.volume("documents") / f"staging-{stack.operation}").stat().st_ino == inode, "staged once"
    assert staged["set"]["id"] == set_id
    assert staged["files"]["documents"] == 12
    assert staged["vectors"] == {COLLECTION: 36}
    assert facts(stack) == destroyed, "staging must not touch what is live"

    perform(stack.job("swap"))
    assert facts(stack) == before
    assert list(stack.live("index").iterdir()) == []
    with running(stack):
        answer = perform(stack.job("canary"))
        assert answer["canary"]["passed"]
        assert answer["canary"]["questions"] == 8
        report = perform(stack.job("canary", compare=True))
    assert report["passed"], report
    assert {check["name"] for check in report["checks"]} >= {"documents", "users rows", f"vectors of {COLLECTION}"}

    assert perform(stack.job("unswap"))["undone"]
    assert facts(stack) == destroyed
    perform(stack.job("swap"))
    perform(stack.job("discard"))
    assert facts(stack) == before
    assert [path.name for path in stack.volume("documents").iterdir()] == ["live"]
    assert [name for name in stack.server.oids() if name.startswith(stack.database)] == [stack.database]


def test_a_blank_stack_is_filled(stack: SmallStack, set_id: str) -> None:
    before = facts(stack)
    before["files"].remove((sha256(LATE).hexdigest(),) * 2)
    stack.server.drop(stack.database)
    for name in ("documents", "vectors", "models", "index"):
        shutil.rmtree(stack.volume(name))
        stack.volume(name).mkdir()
    perform(stack.job("stage", set_id=set_id))
    perform(stack.job("swap"))
    assert facts(stack) == before


def test_the_preview_names_what_is_gained_and_lost(stack: SmallStack, set_id: str) -> None:
    stack.destroy()
    with stack.server.connect(stack.database) as connection:
        row = (uuid4(), "new.txt", stack.add_file(b"new"), 3, "ready")
        connection.execute("INSERT INTO documents VALUES (%s, %s, %s, %s, %s)", row)
    preview = perform(stack.job("preflight", set_id=set_id))["preview"]
    assert preview["documents"]["gained"] == [f"doc-{number:02}.txt" for number in range(6)]
    assert preview["documents"]["lost"] == ["new.txt"]
    assert preview["models"] == {"gained": ["tiny:latest"], "lost": []}
    assert preview["counts"]["documents"] == {"live": 7, "set": 12, "change": 5}
    assert list(stack.work.iterdir()) == []


def test_a_swap_without_a_stage_is_refused(stack: SmallStack) -> None:
    with pytest.raises(NothingStaged):
        perform(stack.job("swap"))


def test_a_wrong_key_is_named(stack: SmallStack, set_id: str) -> None:
    (stack.root / "secrets" / "repository").write_text("another password\n")
    with pytest.raises(RepositoryKeyWrong):
        perform(stack.job("preflight", set_id=set_id))


def test_an_unknown_set_is_named(stack: SmallStack) -> None:
    with pytest.raises(SetUnknown, match="20200101T000000Z-000000"):
        perform(stack.job("preflight", set_id="20200101T000000Z-000000"))


def test_a_partial_set_is_never_the_latest_and_needs_consent(stack: SmallStack, set_id: str) -> None:
    partial = alter_set(stack, set_id, tags=("state:partial",))
    assert sets.find_set(stack.repository, "latest").manifest.set_id == set_id
    with pytest.raises(SetIncomplete):
        perform(stack.job("stage", set_id=partial))
    answer = perform(stack.job("preflight", set_id=partial, allow_partial=True, preview=False))
    assert (answer["set"]["id"], answer["set"]["state"]) == (partial, "partial")


def test_a_set_of_a_newer_postgres_is_refused_before_anything_is_written(
    original: tuple[SmallStack, str], tmp_path: Path
) -> None:
    stack, set_id = original
    manifest = sets.find_set(stack.repository, set_id).manifest
    newer = replace(manifest, versions={**manifest.versions, "postgres_major": 19})
    job = stack.job("stage", set_id=set_id)
    with pytest.raises(SetTooNew, match="Postgres 18"):
        preflight.check_target(newer, target_of(job), tmp_path, context_of(job))


def test_a_target_that_is_too_small_is_refused(original: tuple[SmallStack, str]) -> None:
    stack, set_id = original
    job = stack.job("stage", set_id=set_id)
    manifest = sets.find_set(stack.repository, set_id).manifest
    with pytest.raises(SpaceShort, match="too small"):
        preflight.check_target(manifest, target_of(job), job.work, context_of(job), free=lambda _: 1_000_000)


def other_sums(manifest: Manifest) -> Manifest:
    """A set.json that lists other checksums for the documents."""
    files = [replace(e, sha256="0" * 64) if e.source == "documents" else e for e in manifest.files]
    return replace(manifest, files=tuple(files))


def more_rows(manifest: Manifest) -> Manifest:
    """A set.json that counts more users than the dump holds."""
    return replace(manifest, counts={**manifest.counts, "users": 5})


def more_vectors(manifest: Manifest) -> Manifest:
    """A set.json that counts more vectors than the copy of the store holds."""
    return replace(manifest, collections=tuple(replace(one, vectors=40) for one in manifest.collections))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(other_sums, "12 of 12 files"), (more_rows, "rows users: 2 instead of 5"), (more_vectors, "the set has 40")],
)
def test_a_set_that_is_not_what_it_says_is_never_staged(
    stack: SmallStack, set_id: str, change: Callable[[Manifest], Manifest], sentence: str
) -> None:
    found = sets.find_set(stack.repository, set_id)
    job = stack.job("stage", set_id=set_id)
    damaged = sets.FoundSet(found.snapshot, change(found.manifest))
    stager = Stager(damaged, stack.repository, target_of(job), job.work, job.tools.pg_bin, context_of(job))
    with pytest.raises(SetDamaged, match=sentence):
        stager.stage()
    with pytest.raises(NothingStaged):
        perform(stack.job("swap"))
    perform(stack.job("discard"))
    assert [path.name for path in stack.volume("documents").iterdir()] == ["live"]


def test_an_attempt_that_was_superseded_stops(stack: SmallStack, set_id: str) -> None:
    job = stack.job("stage", set_id=set_id, attempt=1)
    job.work.mkdir(parents=True)
    job.fence.write_text("2")
    with pytest.raises(FencedOff):
        perform(job)


def test_the_canary_notices_other_vectors_and_an_absent_service(stack: SmallStack, set_id: str) -> None:
    stack.work.mkdir(parents=True)
    sets.find_set(stack.repository, set_id).manifest.write(stack.work / "set.json")
    with pytest.raises(CanaryUnreached):
        perform(stack.job("canary"))
    stack.destroy()
    with running(stack), pytest.raises(CanaryFailed, match="0 have the same first hit"):
        perform(stack.job("canary"))


def test_a_database_that_does_not_answer_is_named(original: tuple[SmallStack, str]) -> None:
    stack, _ = original
    with pytest.raises(SourceMissing, match="does not answer"), stack.server.connect("nowhere"):
        pass
