"""Ingest, ask, back up under load, lose everything, restore: the product's main promise, through its own commands."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.support.documents import BAKERY, HARBOUR, TURBINE, corpus, encrypted_pdf
from tests.support.product import Product, settled, upload
from tests.support.servers import wait_until

pytestmark = pytest.mark.integration

QUESTIONS = (
    "When must ships above nine metres of draught wait?",
    "Who founded the bakery in Market Lane?",
    "After how many hours must turbine seven be balanced?",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of documents as an operator would have it."""
    folder = tmp_path_factory.mktemp("company")
    for name, content in corpus(40).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def filled(product: Product, folder: Path) -> dict[str, Any]:
    """The product with the folder ingested; the verb's own figures."""
    return product.json("ingest", str(folder))


def listing(api: httpx.Client) -> dict[str, tuple[str, str, str]]:
    """Every document by id: name, state and hash of the content as it is served."""
    found, after = {}, None
    while True:
        page = api.get("/api/documents", params={"limit": 100, **({"after": after} if after else {})}).json()
        for item in page["documents"]:
            content = api.get(f"/api/documents/{item['id']}/content").content
            found[item["id"]] = (item["name"], item["state"], hashlib.sha256(content).hexdigest())
        after = page["next"]
        if not after:
            return found


def retrieved(api: httpx.Client) -> list[list[str]]:
    answers = [api.post("/api/search", json={"question": question, "k": 5}).json() for question in QUESTIONS]
    return [[hit["chunk_id"] for hit in answer["hits"]] for answer in answers]


def test_every_file_is_ready_and_a_second_ingest_changes_nothing(
    product: Product, folder: Path, filled: dict[str, Any]
) -> None:
    number = len(list(folder.iterdir()))
    assert filled["ready"] == number
    assert filled["failed"] == []
    assert filled["rate_per_second"] > 0
    again = product.json("ingest", str(folder))
    assert (again["unchanged"], again["uploaded"]) == (number, 0)


def test_files_that_cannot_be_read_are_named_and_lose_nothing(
    product: Product, filled: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "locked.pdf").write_bytes(encrypted_pdf("secret"))
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nnot really")
    told = product.manage("ingest", str(tmp_path), "--json", check=False)
    assert told.returncode == 1
    for name in ("locked.pdf", "empty.txt", "broken.pdf"):
        assert name in told.stdout
    with product.api() as api:
        assert api.get("/api/documents", params={"limit": 1}).json()["counts"]["ready"] >= filled["ready"]
        for item in api.get("/api/documents", params={"state": "failed", "limit": 100}).json()["documents"]:
            assert item["reason"]
            api.delete(f"/api/documents/{item['id']}").raise_for_status()


@pytest.mark.parametrize(
    ("question", "document", "passage"),
    [
        (QUESTIONS[0], "harbour.pdf", HARBOUR[:40]),
        (QUESTIONS[1], "bakery.docx", BAKERY[-30:]),
        (QUESTIONS[2], None, TURBINE[:20]),
    ],
)
def test_answers_cite_document_page_and_passage(
    product: Product, filled: dict[str, Any], question: str, document: str | None, passage: str
) -> None:
    answer = product.json("ask", question)
    assert answer["found"] is True
    assert answer["answer"].strip()
    source = answer["sources"][0]
    assert set(source) >= {"document", "page", "passage", "score"}
    assert document is None or source["document"] == document
    assert source["page"] == (2 if document == "harbour.pdf" else source["page"])
    assert passage in " ".join(source["passage"].split())


def test_what_is_not_in_the_documents_is_said_to_be_missing(product: Product, filled: dict[str, Any]) -> None:
    answer = product.json("ask", "Which recipe for tiramisu uses mascarpone?")
    assert answer["found"] is False
    assert answer["sources"] == []


class Load:
    """Uploads, deletions and questions that go on until they are told to stop; every failure is kept."""

    def __init__(self, product: Product) -> None:
        self.failures: list[str] = []
        self.writes = self.reads = 0
        self._product = product
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._guard, args=(work,)) for work in (self._write, self._read)]

    def _guard(self, work: Callable[[httpx.Client], None]) -> None:
        try:
            with self._product.api() as api:
                while not self._stop.is_set():
                    work(api)
        except Exception as error:
            self.failures.append(repr(error))

    def _write(self, api: httpx.Client) -> None:
        content = f"Passing note number {self.writes} about nothing in particular.".encode()
        added = api.post("/api/documents", files={"file": (f"passing-{self.writes}.txt", content)})
        added.raise_for_status()
        api.delete(f"/api/documents/{added.json()['id']}").raise_for_status()
        self.writes += 1

    def _read(self, api: httpx.Client) -> None:
        answer = api.post("/api/search", json={"question": QUESTIONS[self.reads % 3]})
        answer.raise_for_status()
        assert answer.json()["hits"], "a question lost its documents"
        self.reads += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)


@contextmanager
def outside_writer(product: Product) -> Iterator[list[tuple[float, float]]]:
    """Upserts straight into Chroma, past the service and its gate; yields (begun, committed) in wall-clock seconds."""
    base = f"http://127.0.0.1:{product.port + 13}/api/v2/tenants/default_tenant/databases/default_database/collections"
    collection = httpx.post(base, json={"name": "outside-writer", "get_or_create": True}).json()["id"]
    commits: list[tuple[float, float]] = []
    stop = threading.Event()

    def write() -> None:
        with httpx.Client(timeout=60) as client:
            while not stop.is_set():
                begun = time.time()
                body = {"ids": [f"o{len(commits)}"], "embeddings": [[0.1, 0.2, 0.3]]}
                client.post(f"{base}/{collection}/upsert", json=body).raise_for_status()
                commits.append((begun, time.time()))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield commits
    finally:
        stop.set()
        thread.join(timeout=60)
        httpx.delete(f"{base}/outside-writer")


def test_a_set_taken_under_load_is_complete_and_disturbs_nobody(product: Product, filled: dict[str, Any]) -> None:
    with Load(product) as load, outside_writer(product) as commits:
        taken = product.json("backup")
    assert taken["state"] == "complete"
    assert load.failures == []
    assert load.writes > 0
    assert load.reads > 0
    begun, ended = (datetime.fromisoformat(taken["freeze"][name]).timestamp() for name in ("taken_at", "thawed_at"))
    inside = [commit for commit in commits if begun <= commit[0] and commit[1] <= ended]
    assert inside == []
    assert any(commit[1] < begun for commit in commits)
    assert any(commit[0] > ended for commit in commits)
    assert 0 < taken["freeze_ms"] < 500


def test_everything_comes_back_after_a_disaster(product: Product, filled: dict[str, Any]) -> None:
    with product.api() as api:
        settled(api, filled["ready"])
        before, hits = listing(api), retrieved(api)
    taken = product.json("backup")
    ruin(product, list(before))
    restored = product.json("restore", "--set", taken["set_id"], "--yes")
    assert restored["state"] == "kept"
    assert restored["downtime_ms"] > 0
    assert restored["seconds"]["index"] > 0
    with product.api() as api:
        assert listing(api) == before
        assert retrieved(api) == hits
    assert product.json("status")["healthy"] is True
    assert product.json("restore", "--confirm", "--yes")["state"] == "confirmed"


def test_a_restore_that_was_a_mistake_is_undone(product: Product, filled: dict[str, Any]) -> None:
    with product.api() as api:
        added = upload(api, {"added-since.txt": b"The tide mill of Oesterwede grinds buckwheat since 1742."})
        settled(api, filled["ready"] + 1)
        before = listing(api)
    product.json("restore", "--set", "latest", "--yes", "--no-safety")
    with product.api() as api:
        assert not set(added.values()) & set(listing(api))
    assert product.json("restore", "--undo", "--yes")["state"] == "undone"
    with product.api() as api:
        assert listing(api) == before
        found = api.post("/api/search", json={"question": "What does the tide mill of Oesterwede grind?"}).json()
        assert found["hits"][0]["document"] == "added-since.txt"


def test_what_happened_since_a_set_can_be_kept_and_parts_come_back_alone(
    product: Product, filled: dict[str, Any]
) -> None:
    with product.api() as api:
        kept = upload(api, {"there-since.txt": b"The lighthouse of Wremen was painted yellow in 1911."})
        settled(api, filled["ready"] + 1)
        before = listing(api)
    set_id = product.json("backup")["set_id"]
    gone = next(document for document, (name, _, _) in before.items() if name == "bakery.docx")
    with product.api() as api:
        api.delete(f"/api/documents/{gone}").raise_for_status()
        since = upload(api, {"added-later.txt": b"The ferry bell of Imsum was cast by a cobbler."})
        settled(api, filled["ready"] + 1)

    looked = product.json("restore", "--set", set_id, "--merge", "--preview")
    assert looked["preview"]["deletions"] == {"count": 1, "names": ["bakery.docx"]}
    assert looked["preview"]["documents"]["lost"] == ["added-later.txt"]
    merged = product.json("restore", "--set", set_id, "--merge", "--yes", "--no-safety")
    assert (merged["merged"]["documents"], merged["deletions"]) == (1, 1)
    with product.api() as api:
        settled(api, filled["ready"] + 1)
        there = listing(api)
        assert there == {**{key: value for key, value in before.items() if key != gone}, **only(there, since)}
        found = api.post("/api/search", json={"question": "Who cast the ferry bell of Imsum?"}).json()
        assert found["hits"][0]["document"] == "added-later.txt"

    back = product.json("restore", "--set", set_id, "--document", "bakery.docx")
    assert back["outcome"] == {"added": 1}
    sha256 = before[kept["there-since.txt"]][2]
    (product.volumes / "documents" / "live" / sha256[:2] / sha256).unlink()
    assert product.json("restore", "--set", set_id, "--lost")["files"] == 1
    with product.api() as api:
        settled(api, filled["ready"] + 2)
        names = sorted(name for name, _, _ in listing(api).values())
        assert names == sorted([*(name for name, _, _ in before.values()), "added-later.txt"])
    folder = product.var / "restored" / "one"
    product.json("restore", "--set", set_id, "--document", "there-since.txt", "--to-folder", str(folder))
    assert (folder / "there-since.txt").read_bytes() == b"The lighthouse of Wremen was painted yellow in 1911."

    assert product.json("restore", "--undo", "--yes")["state"] == "undone"
    with product.api() as api:
        for document in (*kept.values(), *since.values()):
            api.delete(f"/api/documents/{document}").raise_for_status()


def only(documents: dict[str, tuple[str, str, str]], ids: dict[str, str]) -> dict[str, tuple[str, str, str]]:
    return {key: documents[key] for key in ids.values()}


def ruin(product: Product, documents: list[str]) -> None:
    """Half of the documents deleted, the vector directory wiped, a table dropped, a model removed."""
    with product.api() as api:
        for document in documents[: len(documents) // 2]:
            api.delete(f"/api/documents/{document}").raise_for_status()
    shutil.rmtree(product.volumes / "vectors" / "live")
    wait_until(lambda: _dropped(product), what="the lost table", seconds=30)
    model = httpx.request("DELETE", f"http://127.0.0.1:{product.port + 14}/api/delete", json={"model": "all-minilm"})
    model.raise_for_status()


def _dropped(product: Product) -> bool:
    try:
        with product.rag_database() as connection:
            connection.execute("DROP TABLE chunks CASCADE")
    except psycopg.errors.DeadlockDetected:
        # The service is taking the deleted documents away meanwhile.
        return False
    return True
