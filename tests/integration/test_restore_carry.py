"""What happened since a set: kept or dropped, deleted or back; and what comes back without stopping anything."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backups.errors import BackupError
from backups.journal import Context, Fence, Journal
from backups.restore import merge, pullable
from backups.restore.errors import DocumentUnknown, NotCarried, ScopeRefused
from backups.restore.extract import TargetNotEmpty
from backups.restore.jobs import JOBS
from backups.sources.models import present, read_models, take_manifests
from tests.support import rag_service, servers
from tests.support.restorable import SmallStack, add_model, back_up

pytestmark = pytest.mark.integration

ANN, BOB, CAROL = "ann@example.org", "bob@example.org", "carol@example.org"


@dataclass
class Library(SmallStack):
    """A stack with the schema of the RAG service and a few documents that no ingest has touched."""

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.server.connect(self.database) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def add_user(self, email: str, *, is_admin: bool = False) -> None:
        self.run(
            "INSERT INTO users (email, name, password_hash, is_admin) VALUES (%s, %s, '', %s)", email, email, is_admin
        )
        self.run(
            "INSERT INTO bases (name, owner_id, personal) SELECT 'Personal', id, true FROM users WHERE email = %s",
            email,
        )

    def add(self, name: str, content: bytes, email: str = ANN) -> str:
        """Upload: a file, and a row in state `stored`, in the personal base of `email`."""
        sha256 = self.add_file(content)
        self.run(
            "INSERT INTO documents (base_id, created_by, path, name, sha256, bytes, state)"
            " SELECT b.id, u.id, %s, %s, %s, %s, 'stored'"
            " FROM users u JOIN bases b ON b.owner_id = u.id WHERE u.email = %s",
            name, name, sha256, len(content), email,
        )  # fmt: skip
        return sha256

    def replace(self, name: str, content: bytes) -> None:
        """Upload other content at the same path."""
        self.run(
            "UPDATE documents SET sha256 = %s, bytes = %s, generation = generation + 1 WHERE name = %s",
            self.add_file(content), len(content), name,
        )  # fmt: skip

    def delete(self, name: str) -> None:
        """What the service leaves of a deleted document: a line in its ledger."""
        ((sha256,),) = self.run("SELECT sha256 FROM documents WHERE name = %s", name)
        self.run(
            "INSERT INTO deletions (document_id, base_id, name, sha256, chunks, vectors, file_removed)"
            " SELECT id, base_id, name, sha256, 0, 0, true FROM documents WHERE name = %s", name,
        )  # fmt: skip
        self.run("DELETE FROM documents WHERE name = %s", name)
        self.file(str(sha256)).unlink()

    def file(self, sha256: str) -> Path:
        return self.live("documents") / sha256[:2] / sha256

    def documents(self) -> dict[str, tuple[str, bytes]]:
        """Name -> state and content of every document that is not on its way out."""
        rows = self.run("SELECT name, state, sha256 FROM documents WHERE state <> 'deleting'")
        return {str(name): (str(state), self.file(str(sha)).read_bytes()) for name, state, sha in rows}

    def users(self) -> set[str]:
        return {str(email) for (email,) in self.run("SELECT email FROM users")}

    def perform(self, kind: str, *, set_id: str | None = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Carry out one job in this process; the warnings it logs are in `warnings`."""
        job, out = self.job(kind, set_id=set_id, **options), io.StringIO()
        job.work.mkdir(parents=True, exist_ok=True)
        result = JOBS[kind](job, Context(Journal(out), Fence(job.fence, job.attempt)))
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        warnings = [line["message"] for line in lines if line["type"] == "log" and line["level"] == "warning"]
        return {**result, "warnings": warnings}


@pytest.fixture(scope="module")
def staged(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres
) -> Iterator[tuple[Library, str]]:
    """A library with three documents and two people, its set, and that set staged."""
    library = Library(tmp_path_factory.mktemp("library"), postgres_server, f"rag_{uuid4().hex[:6]}")
    library.create()
    library.fill(documents=1, chunks=1)
    library.server.drop(library.database)
    shutil.rmtree(library.live("documents"))
    library.live("documents").mkdir()
    rag_service.migrate(library)
    library.add_user(ANN, is_admin=True)
    library.add_user(BOB)
    for name in ("a.txt", "b.txt", "c.txt"):
        library.add(name, f"content of {name}".encode())
    set_id = back_up(library)
    library.perform("stage", set_id=set_id)
    yield library, set_id
    library.perform("discard")
    library.server.drop(library.database)


@pytest.fixture
def library(staged: tuple[Library, str], tmp_path: Path) -> Iterator[Library]:
    """A copy with databases of its own, in which since the set `a` was deleted, `b` stayed, `c` was replaced and `d`
    was added by somebody new."""
    source, _ = staged
    shutil.copytree(source.root, tmp_path / "stack")
    copy = Library(tmp_path / "stack", source.postgres, f"rag_{uuid4().hex[:6]}", operation=source.operation)
    op8 = source.operation[:8]
    with copy.server.connect() as connection:
        for suffix in ("", f"_staging_{op8}"):
            names = (f"{copy.database}{suffix}", f"{source.database}{suffix}")
            connection.execute('CREATE DATABASE "{}" TEMPLATE "{}"'.format(*names).encode())
    copy.delete("a.txt")
    copy.replace("c.txt", b"newer content of c")
    copy.add_user(CAROL)
    copy.add("d.txt", b"added since", CAROL)
    yield copy
    for name in copy.server.oids():
        if name.startswith(copy.database):
            copy.server.drop(name)


@pytest.fixture
def set_id(staged: tuple[Library, str]) -> str:
    return staged[1]


AS_SET = {f"{name}.txt": ("stored", f"content of {name}.txt".encode()) for name in "abc"}
MERGED = {
    "b.txt": AS_SET["b.txt"],
    "c.txt": ("stored", b"newer content of c"),
    "d.txt": ("stored", b"added since"),
}


def test_exactly_is_the_state_of_the_set(library: Library) -> None:
    library.perform("swap")
    assert library.documents() == AS_SET
    assert library.users() == {ANN, BOB}


def test_merged_keeps_what_was_added_and_what_was_deleted_and_can_be_undone(library: Library) -> None:
    before = library.documents()
    swapped = library.perform("swap", merge=True, keep_deleted=True)
    assert library.documents() == MERGED
    assert library.users() == {ANN, BOB, CAROL}
    assert (swapped["deletions"], swapped["warnings"]) == (1, [])
    assert swapped["merged"] == {"accounts": 1, "bases": 1, "documents": 1, "newer": 1, "lost": []}
    assert library.run("SELECT generation FROM documents WHERE name = 'c.txt'") == [(2,)]
    library.perform("unswap")
    assert library.documents() == before
    library.perform("swap", merge=True, keep_deleted=True)
    assert library.documents() == MERGED
    library.perform("discard")
    assert library.documents() == MERGED


def test_a_merge_that_dies_anywhere_changes_nothing_and_is_made_up_for(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, take_up, left = library.documents(), merge.adopt, 0

    def dying(*given: Any) -> str:  # noqa: ANN401 - as adopt has them
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return take_up(*given)

    monkeypatch.setattr(merge, "adopt", dying)
    for number in range(4):
        left = number
        with pytest.raises(KeyboardInterrupt):
            library.perform("swap", merge=True, keep_deleted=True)
        assert library.documents() == before
    monkeypatch.undo()
    library.perform("swap", merge=True, keep_deleted=True)
    assert library.documents() == MERGED


def test_merged_with_deletions_undone_brings_back_what_was_deleted(library: Library) -> None:
    library.perform("swap", merge=True)
    assert library.documents() == {**MERGED, "a.txt": AS_SET["a.txt"]}


def test_what_was_deleted_and_uploaded_again_is_there_once(library: Library) -> None:
    library.add("a.txt", b"another a")
    library.perform("swap", merge=True, keep_deleted=True)
    assert library.documents() == {**MERGED, "a.txt": ("stored", b"another a")}


def test_a_file_that_was_lost_is_named_and_the_rest_is_merged(library: Library) -> None:
    library.file(hashlib.sha256(b"added since").hexdigest()).unlink()
    swapped = library.perform("swap", merge=True)
    assert swapped["merged"]["lost"] == ["d.txt"]
    assert "d.txt" in swapped["warnings"][0]
    assert "d.txt" not in library.documents()


def test_a_damaged_database_cannot_be_merged_and_nothing_has_changed(library: Library, set_id: str) -> None:
    library.run("DROP VIEW backup_additions")
    for kind in ("preflight", "swap"):
        with pytest.raises(NotCarried, match="cannot be kept"):
            library.perform(kind, set_id=set_id, merge=True, preview=False)
    assert not (library.volume("documents") / f"swap-{library.operation}.json").exists()


def test_deletions_that_cannot_be_read_are_named_and_do_not_stop_a_restore(library: Library) -> None:
    library.run("DROP VIEW backup_deletions")
    swapped = library.perform("swap", keep_deleted=True)
    assert "Deletions were not carried over" in swapped["warnings"][0]
    assert library.documents() == AS_SET


def test_the_last_administrator_is_let_in_and_named(library: Library) -> None:
    library.add_user("dora@example.org", is_admin=True)
    library.run("UPDATE users SET active = false WHERE email = ANY(%s)", [ANN, BOB])
    swapped = library.perform("swap")
    assert library.run("SELECT active FROM users ORDER BY email") == [(True,), (False,)]
    (warning,) = swapped["warnings"]
    assert ANN in warning
    assert BOB not in warning


def test_the_preview_tells_of_people_deletions_and_damaged_files(library: Library, set_id: str) -> None:
    library.file(hashlib.sha256(b"content of b.txt").hexdigest()).unlink()
    preview = library.perform("preflight", set_id=set_id)["preview"]
    assert (preview["users"]["lost"], preview["users"]["gained_count"]) == ([CAROL], 0)
    assert preview["documents"]["lost"] == ["c.txt", "d.txt"]
    assert preview["deletions"] == {"count": 1, "names": ["a.txt"]}
    assert preview["damaged"] == {"count": 1, "names": ["b.txt"], "returning": 1}
    assert "documents deleted after the set: a.txt" in preview["summary"]


def test_models_alone_touch_nothing_else(library: Library, set_id: str) -> None:
    library.perform("discard")
    library.operation = str(uuid4())
    before = library.documents()
    shutil.rmtree(library.live("models"))
    found = library.perform("preflight", set_id=set_id, sources=["models"], preview=False)
    assert found["stops"] == ["ollama"]
    library.perform("stage", set_id=set_id, sources=["models"])
    assert library.perform("swap")["volumes"] == ["models"]
    assert (library.live("models") / "manifests").is_dir()
    assert library.documents() == before
    library.perform("unswap")
    assert not (library.live("models") / "manifests").exists()


def test_models_that_a_set_only_names_stay_where_they_are_live(library: Library, tmp_path: Path) -> None:
    live, staging = library.live("models"), tmp_path / "staged"
    add_model(live, "large", b"weights that can be pulled again")
    found = {model.name: model for model in read_models(take_manifests(live))}
    changed = replace(found["tiny:latest"], digest="sha256:other")
    assert pullable.keep([found["large:latest"], changed], live, staging) == ["tiny:latest"]
    assert read_models(take_manifests(staging)) == [found["large:latest"]]
    assert present(found["large:latest"], staging)


def test_documents_without_vectors_start_with_an_empty_store(library: Library, set_id: str) -> None:
    library.perform("discard")
    library.operation = str(uuid4())
    library.perform("stage", set_id=set_id, sources=["documents", "postgres"])
    assert library.perform("swap")["volumes"] == ["documents", "index", "vectors"]
    assert library.documents() == AS_SET
    assert list(library.live("vectors").iterdir()) == []


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (["documents"], "rows apart"),
        (["postgres", "vectors"], "rows apart"),
        (["vectors"], "documents of today"),
        (["config"], "running stack"),
        (["wiki"], "no source wiki"),
    ],
)
def test_sources_that_would_leave_the_stores_apart_are_refused(
    library: Library, set_id: str, sources: list[str], sentence: str
) -> None:
    with pytest.raises(ScopeRefused, match=sentence):
        library.perform("preflight", set_id=set_id, sources=sources)


def test_single_documents_come_back_into_the_running_stack(library: Library, set_id: str) -> None:
    given = library.perform("readmit", set_id=set_id, documents=["a.txt", "b.txt", "c.txt"])
    assert given["outcome"] == {"added": 1, "same": 1, "newer": 1}
    assert library.documents() == {**AS_SET, "d.txt": MERGED["d.txt"]}
    again = library.perform("readmit", set_id=set_id, documents=["a.txt"])
    assert again["outcome"] == {"same": 1}
    assert not list(library.volume("documents").glob("incoming-*"))
    with pytest.raises(DocumentUnknown, match=r"nothing\.txt"):
        library.perform("readmit", set_id=set_id, documents=["nothing.txt"])


def test_lost_files_come_back_and_nothing_else_changes(library: Library, set_id: str) -> None:
    before = library.documents()
    lost = library.file(hashlib.sha256(b"content of b.txt").hexdigest())
    lost.write_bytes(b"cut off")
    assert library.perform("readmit", set_id=set_id, lost=True)["files"] == 1
    assert library.documents() == before


def test_a_folder_gets_the_documents_under_their_names(library: Library, set_id: str, tmp_path: Path) -> None:
    target = tmp_path / "there"
    half = tmp_path / f".there.{library.operation[:8]}"
    (half / "documents").mkdir(parents=True)
    library.perform("extract", set_id=set_id, target=str(target))
    named = {path.name: path.read_bytes() for path in (target / "documents-by-name").iterdir()}
    assert named == {name: content for name, (_, content) in AS_SET.items()}
    assert (target / "postgres" / "database.dump").exists()
    assert (target / "models" / "manifests").is_dir()
    assert not half.exists()
    with pytest.raises(TargetNotEmpty):
        library.perform("extract", set_id=set_id, target=str(target))


def test_a_folder_gets_chosen_sources_or_single_documents(library: Library, set_id: str, tmp_path: Path) -> None:
    library.perform("extract", set_id=set_id, target=str(tmp_path / "config"), sources=["config"])
    assert sorted(path.name for path in (tmp_path / "config").iterdir()) == ["config", "set.json"]
    library.perform("extract", set_id=set_id, target=str(tmp_path / "one"), documents=["a.txt"])
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(BackupError, match="file"):
        library.perform("extract", set_id=set_id, target=str(tmp_path / "file" / "below"), sources=["config"])
