"""A whole backup set of a real small stack, taken while others write."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.job import RepositoryPlace
from backups.manifest import SET_JSON, Manifest
from backups.repository import Repository
from tests.support import servers
from tests.support.sample_stack import SampleStack, run_agent, sample_stack, writing

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


def test_a_set_taken_under_writers_is_complete_and_consistent(stack: SampleStack) -> None:
    with writing(stack) as failed:
        ended = run_agent(stack.job())
    assert not failed
    assert ended.status == 0, ended
    result = ended.last
    assert result["type"] == "result"
    assert result["state"] == "complete", ended
    assert ended.steps() == ["preflight", "prepare", "freeze", "dump", "verify", "commit"]
    assert 0 < result["freeze_ms"] < 500
    manifest = read_manifest(stack, result["snapshot_id"])
    assert manifest.set_id == result["set"]
    (collection,) = manifest.collections
    assert collection.chunks == manifest.counts["chunks"] == collection.vectors
    assert collection.chunks >= 12
    assert manifest.counts["documents"] == sum(1 for _ in manifest.files_of("documents"))
    assert len(manifest.canary) == 8
    assert all(len(question.nearest) == 10 for question in manifest.canary)
