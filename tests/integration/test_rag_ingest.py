"""The document state machine on real servers: kills, gates, generations, deletions, wiped stores."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from rag_api.db import REMOVAL_GATE, WRITE_GATE
from rag_api.retrieval.lexical import LexicalReader
from rag_api.vectors import Vectors
from tests.support import servers
from tests.support.hash_embedder import HashEmbedder, hash_embedder
from tests.support.rag_stack import RagStack, rag_stack

pytestmark = pytest.mark.integration


@dataclass
class World:
    """A stack with its ingest process running, its embedder, and a view into Chroma."""

    stack: RagStack
    embedder: HashEmbedder
    vectors: Vectors
    admin: httpx.Client

    def upload(self, name: str, text: str, user: httpx.Client | None = None, status: int = 201) -> dict[str, object]:
        answer = (user or self.admin).post("/api/documents", files={"file": (name, text.encode())})
        assert answer.status_code == status, answer.text
        body: dict[str, object] = answer.json()
        return body

    def state(self, document: dict[str, object]) -> str:
        """The state of a document's row, or `gone`."""
        rows = self.stack.query("SELECT state FROM documents WHERE id = %s", document["id"])
        return str(rows[0]["state"]) if rows else "gone"

    def wait(self, document: dict[str, object], state: str) -> None:
        servers.wait_until(lambda: self.state(document) == state, what=f"{document['name']} {state}", seconds=30)

    def collection(self) -> str:
        return str(self.stack.query("SELECT name FROM collections WHERE active")[0]["name"])

    def chunk_ids(self) -> set[object]:
        return {row["chunk_id"] for row in self.stack.query("SELECT chunk_id FROM visible_chunks")}

    def found(self, word: str) -> set[str]:
        """Names of the documents that a search for a word brings by words or by meaning."""
        hits = self.admin.post("/api/search", json={"question": word, "k": 50}).json()["hits"]
        return {hit["document"] for hit in hits if word in hit["passage"]}

    def file(self, document: dict[str, object]) -> bool:
        sha = str(document["sha256"])
        return (self.stack.root / "documents" / "live" / sha[:2] / sha).exists()


@pytest.fixture(scope="module")
def world(
    postgres_server: servers.Postgres, valkey_server: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with ExitStack() as stack:
        root = tmp_path_factory.mktemp("rag")
        chroma = stack.enter_context(servers.chroma(root / "chroma"))
        embedder = stack.enter_context(hash_embedder())
        rag = stack.enter_context(rag_stack(root / "rag", postgres_server, valkey_server, chroma.url, embedder.url))
        rag.start_ingest()
        servers.wait_until(rag.ingest_ready, what="ingest", seconds=30)
        yield World(rag, embedder, Vectors(chroma.url), rag.admin())


def test_document_becomes_ready_and_is_found(world: World) -> None:
    document = world.upload("turbine.txt", "The turbine blade cracked under load.")
    world.wait(document, "ready")
    shown = world.admin.get(f"/api/documents/{document['id']}").json()
    assert (shown["state"], shown["chunks"], shown["reason"]) == ("ready", 1, None)
    assert world.found("turbine") == {"turbine.txt"}
    assert world.admin.get(f"/api/documents/{document['id']}/content").content.startswith(b"The turbine")


def test_kill_in_the_middle_loses_nothing(world: World) -> None:
    world.embedder.seconds = 0.4
    documents = [
        world.upload(f"kill-{n}.txt", f"Specimen {n} of the interrupted series, mark quetzal{n}.") for n in range(90)
    ]
    for _ in range(2):
        servers.wait_until(
            lambda: world.stack.query("SELECT 1 FROM documents WHERE lease_owner IS NOT NULL") != [],
            what="work under a lease",
        )
        world.stack.kill_ingest()
        world.stack.start_ingest()
    world.embedder.seconds = 0
    counts = world.stack.settled(world.admin)
    assert counts.get("failed", 0) == 0
    assert {world.state(d) for d in documents} == {"ready"}
    assert {str(i) for i in world.vectors.all_ids(world.collection())} == {str(i) for i in world.chunk_ids()}
    assert world.found("quetzal89") == {"kill-89.txt"}


def test_failed_dependency_fails_no_document(world: World) -> None:
    world.embedder.down = True
    document = world.upload("patient.txt", "Patience while the model server restarts.")
    world.wait(document, "chunked")
    servers.wait_until(lambda: not world.stack.ingest_ready(), what="the trouble being reported")
    report = httpx.get(f"{world.stack.ingest_url}/ready").json()
    assert "model server" in report["dependencies"]["ollama"]
    world.embedder.down = False
    world.wait(document, "ready")


def test_unreadable_document_fails_with_a_sentence_and_can_be_retried(world: World) -> None:
    answer = world.admin.post("/api/documents", files={"file": ("broken.pdf", b"%PDF-1.7 nothing of a PDF")})
    document = answer.json()
    world.wait(document, "failed")
    shown = world.admin.get(f"/api/documents/{document['id']}").json()
    assert "broken.pdf" in shown["reason"]
    again = world.admin.post(f"/api/documents/{document['id']}/retry")
    assert again.status_code == 202
    assert again.json()["generation"] == 2
    world.wait(document, "failed")
    ready = world.upload("fine.txt", "A fine text.")
    assert world.admin.post(f"/api/documents/{ready['id']}/retry").status_code == 409


def test_new_content_replaces_the_old_only_when_ready(world: World) -> None:
    first = world.upload("report.txt", "Findings of the albatross survey.")
    world.wait(first, "ready")
    world.embedder.down = True
    second = world.upload("report.txt", "Findings of the pelican survey.")
    assert (second["id"], second["generation"]) == (first["id"], 2)
    world.wait(second, "chunked")
    visible = "SELECT text FROM visible_chunks WHERE document_id = %s"
    assert "albatross" in world.stack.query(visible, first["id"])[0]["text"]
    world.embedder.down = False
    world.wait(second, "ready")
    assert "pelican" in world.stack.query(visible, first["id"])[0]["text"]
    servers.wait_until(lambda: not world.file(first), what="the old file's removal")
    collection = world.collection()
    rows = world.stack.query("SELECT id FROM documents WHERE id = %s", first["id"])
    servers.wait_until(
        lambda: len(world.vectors.document_ids(collection, [rows[0]["id"]])) == 1, what="the old vectors' removal"
    )
    assert world.found("albatross") == set()


def test_same_content_elsewhere_in_the_base_is_not_embedded_again(world: World) -> None:
    world.wait(world.upload("one.txt", "An identical passage about cormorants."), "ready")
    before = world.embedder.embedded
    world.wait(world.upload("two.txt", "An identical passage about cormorants."), "ready")
    assert world.embedder.embedded == before
    assert world.found("cormorants") == {"one.txt", "two.txt"}


def test_same_content_of_another_user_is_treated_as_new(world: World) -> None:
    mine = world.upload("secret.txt", "The merger is planned for May.")
    world.wait(mine, "ready")
    before = world.embedder.embedded
    other = world.stack.new_user(world.admin, "other")
    theirs = world.upload("guess.txt", "The merger is planned for May.", user=other)
    world.wait(theirs, "ready")
    assert theirs["id"] != mine["id"]
    assert world.embedder.embedded == before + 1
    # Deleting one leaves the other its file.
    other.delete(f"/api/documents/{theirs['id']}")
    world.wait(theirs, "gone")
    assert world.file(mine)
    assert world.admin.get(f"/api/documents/{mine['id']}/content").status_code == 200


def test_delete_leaves_nothing(world: World) -> None:
    document = world.upload("heron.txt", "The heron nests in reeds.")
    world.wait(document, "ready")
    ids = world.stack.query("SELECT chunk_id AS id FROM visible_chunks WHERE document_id = %s", document["id"])
    assert world.admin.delete(f"/api/documents/{document['id']}").status_code == 202
    assert world.found("heron") == set()
    world.wait(document, "gone")
    collection = world.collection()
    assert world.vectors.present(collection, [row["id"] for row in ids]) == set()
    assert not world.file(document)
    assert world.admin.get(f"/api/documents/{document['id']}").status_code == 404
    ledger = world.stack.query(
        "SELECT chunks, vectors, file_removed FROM deletions WHERE document_id = %s", document["id"]
    )
    assert ledger == [{"chunks": 1, "vectors": 1, "file_removed": True}]


def test_nothing_commits_while_the_write_gate_is_closed(world: World) -> None:
    going = world.upload("going.txt", "About to be deleted.")
    world.wait(going, "ready")
    collection = world.collection()
    with world.stack.gate(WRITE_GATE):
        before = world.vectors.all_ids(collection)
        document = world.upload("gated.txt", "Written while the gate is closed, about kingfishers.")
        world.wait(document, "chunked")
        world.admin.delete(f"/api/documents/{going['id']}")
        assert world.found("turbine") == {"turbine.txt"}
        waiting = (
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 1380009803 AND objid = 1 AND NOT granted"
        )
        servers.wait_until(lambda: len(world.stack.query(waiting)) >= 2, what="writers waiting at the gate")
        assert world.state(document) == "chunked"
        assert world.state(going) == "deleting"
        assert world.vectors.all_ids(collection) == before
    world.wait(document, "ready")
    world.wait(going, "gone")


def test_files_stay_while_a_backup_holds_the_removal_gate(world: World) -> None:
    document = world.upload("osprey.txt", "The osprey dives.")
    world.wait(document, "ready")
    removed = "SELECT 1 FROM documents WHERE id = %s AND removed_vectors IS NOT NULL AND lease_owner IS NULL"
    with world.stack.gate(REMOVAL_GATE, shared=True):
        world.admin.delete(f"/api/documents/{document['id']}")
        servers.wait_until(lambda: bool(world.stack.query(removed, document["id"])), what="the vectors' removal")
        assert world.state(document) == "deleting"
        assert world.file(document)
        # The same path is free again at once.
        world.wait(world.upload("osprey.txt", "The osprey dives again."), "ready")
    world.wait(document, "gone")
    assert not world.file(document)


def test_emptied_word_index_is_rebuilt_at_start(world: World) -> None:
    world.stack.stop_ingest()
    shutil.rmtree(world.stack.root / "index", ignore_errors=True)
    world.stack.start_ingest()
    servers.wait_until(world.stack.ingest_ready, what="ingest", seconds=30)
    bases = [row["id"] for row in world.stack.query("SELECT id FROM bases")]
    hits = LexicalReader(world.stack.settings.index_dir).search("turbine", bases, 5)
    assert len(hits) == 1


def test_stores_are_brought_back_to_what_postgres_says(world: World) -> None:
    """A wiped collection, an orphan vector and an orphan file, as a crash or a partial loss leaves them."""
    world.stack.settled(world.admin)
    world.stack.stop_ingest()
    expected = {str(i) for i in world.chunk_ids()}
    world.vectors.delete_collection(world.collection())
    stray = world.stack.root / "documents" / "live" / "ab" / ("ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"left behind")
    world.stack.start_ingest()
    servers.wait_until(world.stack.ingest_ready, what="ingest", seconds=30)
    world.stack.settled(world.admin)
    assert {str(i) for i in world.vectors.all_ids(world.collection())} == expected
    servers.wait_until(lambda: not stray.exists(), what="the stray file's removal")


def test_changed_embedder_is_answered_by_embedding_again(world: World) -> None:
    old = world.collection()
    world.stack.stop_ingest()
    world.embedder.digest = "1" * 64
    world.stack.start_ingest()
    servers.wait_until(lambda: world.collection() != old, what="the new collection")
    world.stack.settled(world.admin)
    assert {str(i) for i in world.vectors.all_ids(world.collection())} == {str(i) for i in world.chunk_ids()}
    collections = world.stack.query("SELECT name, model_digest FROM backup_collections")
    assert collections == [{"name": world.collection(), "model_digest": "1" * 64}]


def test_second_ingest_process_waits_for_the_first(world: World) -> None:
    first = world.stack.ingest_port
    world.stack.ingest_port = servers.free_port()
    try:
        world.stack.start_ingest()
        servers.wait_until(lambda: servers.http_ok(f"{world.stack.ingest_url}/health"), what="the second process")
        time.sleep(1)  # long enough for a process that does not wait to have become ready
        assert not world.stack.ingest_ready()
        assert servers.http_ok(f"http://127.0.0.1:{first}/ready")
    finally:
        world.stack.kill_ingest()
        world.stack.ingest_port = first
