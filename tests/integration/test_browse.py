"""What is in a set, and bringing files out of it: real restic, also while somebody else holds the repository."""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backups import fetch, listing, process
from backups.errors import RepositoryError
from backups.fetch import FileDamaged, Wanted
from backups.fields import Fields
from backups.job import RepositoryPlace
from backups.trees import Node, Tree
from tests.support import sample_stack, servers
from tests.support.sample_stack import SampleStack

pytestmark = pytest.mark.integration

NAMES = ("../../etc/passwd", 'a "quoted"\nname.txt', "Ünïcode 文書.txt", "twin.txt")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[SampleStack]:
    with sample_stack.sample_stack(tmp_path_factory.mktemp("browse"), postgres_server, documents=4) as made:
        with made.connect() as connection:
            ids = [row[0] for row in connection.execute("SELECT id FROM documents WHERE bytes < 40 ORDER BY sha256")]
            for document, name in zip(ids, NAMES, strict=True):
                connection.execute("UPDATE documents SET name = %s WHERE id = %s", (name, document))
            # A second document with the content of the last one.
            connection.execute(
                "INSERT INTO documents SELECT gen_random_uuid(), name, sha256, bytes, state FROM documents"
                " WHERE id = %s",
                (ids[-1],),
            )
        yield made


@pytest.fixture(scope="module")
def backup(stack: SampleStack) -> tuple[str, Path]:
    """A set: its snapshot, and the tree that the backup left."""
    job = stack.job()
    made = sample_stack.run_agent(job)
    assert made.last.get("state") == "complete", (made.last, made.log)
    return str(made.last["snapshot_id"]), Path(job["work"]) / listing.TREE


@pytest.fixture(scope="module")
def snapshot(backup: tuple[str, Path]) -> str:
    return backup[0]


@pytest.fixture(scope="module")
def tree(stack: SampleStack, snapshot: str) -> Iterator[Tree]:
    job = stack.job("tree", options={"snapshot": snapshot})
    made = sample_stack.run_agent(job)
    assert made.last["state"] == "ok", made.last
    with Tree(Path(job["work"]) / made.last["file"]) as opened:
        yield opened


@pytest.fixture
def repository(stack: SampleStack, tmp_path: Path) -> fetch.Fetch:
    place = RepositoryPlace.read(Fields(stack.job()["repository"], "repository"))
    return fetch.Fetch(place, servers.RESTIC, tmp_path)


def node(tree: Tree, path: str) -> Node:
    found = tree.node(path)
    assert found is not None, path
    return found


def test_the_tree_shows_documents_as_people_named_them(tree: Tree) -> None:
    documents = {found.name for found in tree.children(node(tree, "/documents"))}
    assert documents == {"__", 'a "quoted"\nname.txt', "Ünïcode 文書.txt", "twin.txt", "twin (2).txt", "a.txt"}
    assert node(tree, "/documents/__/__/etc/passwd").sha256
    assert {found.name for found in tree.children(node(tree, "/"))} == {
        "config", "documents", "models", "postgres", "vectors", "set.json",
    }  # fmt: skip
    assert node(tree, "/postgres/database.dump").bytes > 1000
    assert node(tree, "/models/blobs").files == 2
    assert [found.name for found in tree.search("ÜNÏCODE", node(tree, "/"))] == ["Ünïcode 文書.txt"]


def test_a_backup_leaves_the_tree_that_the_repository_would_give(backup: tuple[str, Path], tree: Tree) -> None:
    with Tree(backup[1]) as left:
        assert left.files(node(left, "/")) == tree.files(node(tree, "/"))


def test_a_file_comes_as_it_was(stack: SampleStack, snapshot: str, tree: Tree, repository: fetch.Fetch) -> None:
    for path in ("/documents/__/__/etc/passwd", '/documents/a "quoted"\nname.txt', "/config/conf/stack.yaml"):
        found = node(tree, path)
        content = b"".join(repository.file(snapshot, found.stored, sha256=found.sha256))
        assert len(content) == found.bytes
    assert content == (stack.root / "conf/stack.yaml").read_bytes()


@pytest.mark.parametrize("together", [True, False])
def test_a_folder_comes_as_a_zip(
    snapshot: str, tree: Tree, repository: fetch.Fetch, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "START_BYTES", 1 << 40 if together else 0)
    folder = node(tree, "/documents")
    batches = fetch.batches(fetch.archive_names(folder, tree.files(folder)), tree.bytes_below)
    assert [bool(batch.folder) for batch in batches] == [together]
    data = b"".join(repository.zipped(snapshot, batches, at=datetime(2026, 1, 31, 2, 30, tzinfo=UTC)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert sorted(names) == sorted(
            f"documents/{name}"
            for name in (
                "__/__/etc/passwd",
                "a _quoted__name.txt",
                "Ünïcode 文書.txt",
                "a.txt",
                "twin.txt",
                "twin (2).txt",
            )
        )
        assert archive.read("documents/twin.txt") == archive.read("documents/twin (2).txt")
        assert archive.getinfo("documents/a.txt").date_time == (2026, 1, 31, 2, 30, 0)


@contextmanager
def locked(stack: SampleStack, repository: fetch.Fetch) -> Iterator[None]:
    """Somebody holds the exclusive lock and does not move."""
    env = {**os.environ, **repository._environment()}
    argv = (str(servers.RESTIC), "check", "--read-data", "--limit-download", "1")
    with process.Running(argv, env=env, bound_to_parent=False) as running:
        servers.wait_until(lambda: any((stack.repository / "locks").iterdir()), what="the lock")
        os.kill(running.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(running.pid, signal.SIGCONT)


def test_nothing_waits_for_an_exclusive_lock(
    stack: SampleStack, snapshot: str, tree: Tree, repository: fetch.Fetch
) -> None:
    found = node(tree, "/config/conf/stack.yaml")
    with locked(stack, repository):
        assert b"".join(repository.file(snapshot, found.stored)) == b"name: rag\n"
        made = sample_stack.run_agent(stack.job("tree", options={"snapshot": snapshot}))
    assert made.last.get("state") == "ok", (made.last, made.log)


def test_what_does_not_match_its_checksum_is_not_passed_off(snapshot: str, tree: Tree, repository: fetch.Fetch) -> None:
    found = node(tree, "/config/conf/stack.yaml")
    with pytest.raises(FileDamaged, match="checksum"):
        list(repository.file(snapshot, found.stored, sha256="0" * 64))
    with pytest.raises(RepositoryError):
        list(repository.file(snapshot, "/no/such/file"))
    ghost = Node(1, 1, "/x", "x", False, 1, 1, "", "/set/config/conf/ghost")
    both = fetch.Batch("/set/config", {found.stored: [Wanted("a", found)], ghost.stored: [Wanted("b", ghost)]})
    with pytest.raises(FileDamaged, match="not in the snapshot"):
        list(repository.zipped(snapshot, [both], at=datetime.now(UTC)))


def test_stopping_ends_restic(snapshot: str, tree: Tree, repository: fetch.Fetch) -> None:
    blocks = repository.file(snapshot, node(tree, "/vectors/chroma.sqlite3").stored)
    next(blocks)
    assert repository._running is not None
    pid = repository._running._popen.pid
    repository.stop()
    with pytest.raises(RepositoryError):
        list(blocks)
    assert not Path(f"/proc/{pid}").exists()


def test_a_set_without_a_listing_keeps_the_names_of_its_files(
    stack: SampleStack, tmp_path: Path, repository: fetch.Fetch
) -> None:
    """Sets of before the listing existed, and those of another program of ours."""
    made = sample_stack.run_agent(stack.job(sources=["documents", "config"]))
    assert made.last.get("state") == "complete", (made.last, made.log)
    snapshot = str(made.last["snapshot_id"])
    repository.restore(snapshot, folder="/set", target=tmp_path / "bare")
    (tmp_path / "bare" / "documents.jsonl").unlink()
    (tmp_path / "bare").rename(tmp_path / "set")
    bare = repository.backup(cwd=tmp_path, paths=["set", str(stack.documents)], files=[], tags=[], host="x").snapshot_id
    job = stack.job("tree", options={"snapshot": bare})
    assert sample_stack.run_agent(job).last["state"] == "ok"
    with sqlite3.connect(Path(job["work"]) / listing.TREE) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM nodes WHERE path LIKE '/documents/%'")}
    assert all(len(name) in (2, 64) for name in names)
