"""Uploads: every refusal is a sentence, nothing stored is lost by one, and names never become paths."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest

from tests.support import servers
from tests.support.rag_stack import RagStack, rag_stack

pytestmark = pytest.mark.integration


@dataclass
class World:
    """An api without ingest: documents stay `stored`."""

    stack: RagStack
    admin: httpx.Client

    def post(self, name: str, content: bytes, **fields: str) -> httpx.Response:
        return self.admin.post("/api/documents", files={"file": (name, content)}, data=fields)

    def files(self) -> list[str]:
        root = self.stack.root / "documents"
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def world(
    postgres_server: servers.Postgres, valkey_server: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with ExitStack() as stack:
        root = tmp_path_factory.mktemp("rag")
        nowhere = f"http://127.0.0.1:{servers.free_port()}"
        rag = stack.enter_context(rag_stack(root, postgres_server, valkey_server, nowhere, nowhere))
        yield World(rag, rag.admin())


def test_content_is_stored_under_its_hash(world: World) -> None:
    content = b"Content of note."
    answer = world.post("note.txt", content)
    assert answer.status_code == 201
    body, sha = answer.json(), hashlib.sha256(content).hexdigest()
    assert (body["state"], body["sha256"], body["bytes"], body["path"]) == ("stored", sha, len(content), "note.txt")
    assert (world.stack.root / "documents" / "live" / sha[:2] / sha).read_bytes() == content
    downloaded = world.admin.get(f"/api/documents/{body['id']}/content")
    assert downloaded.content == content
    assert downloaded.headers["content-disposition"].startswith("attachment")


def test_same_content_again_changes_nothing(world: World) -> None:
    first = world.post("twice.txt", b"The same.")
    before = world.files()
    second = world.post("twice.txt", b"The same.")
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert world.files() == before


def test_folders_are_kept_in_the_path(world: World) -> None:
    body = world.post("c.txt", b"In folders.", path="a/b/c.txt").json()
    assert (body["path"], body["name"]) == ("a/b/c.txt", "c.txt")


@pytest.mark.parametrize(
    ("name", "content", "fields", "status", "code"),
    [
        ("empty.txt", b"", {}, 400, "empty_file"),
        ("../../etc/passwd", b"x", {}, 400, "bad_name"),
        ("x.txt", b"x", {"path": "/etc/passwd"}, 400, "bad_name"),
        ("x.txt", b"x", {"path": "a/../../b"}, 400, "bad_name"),
        ("x.txt", b"x", {"path": "a\\..\\b"}, 400, "bad_name"),
        ("x.txt", b"x", {"path": "tab\there\x00"}, 400, "bad_name"),
        ("x" * 300, b"x", {}, 400, "bad_name"),
        ("x.txt", b"x" * 200_001, {}, 413, "too_large"),
        ("x.txt", b"x", {"base": "not-an-id"}, 400, "bad_base"),
        ("x.txt", b"x", {"base": "00000000-0000-0000-0000-000000000000"}, 404, "not_found"),
    ],
)
def test_refusals_are_sentences_and_store_nothing(
    world: World, name: str, content: bytes, fields: dict[str, str], status: int, code: str
) -> None:
    before = world.files()
    answer = world.post(name, content, **fields)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"].endswith(".")
    assert world.files() == before


def test_file_of_exactly_the_limit_is_taken(world: World) -> None:
    assert world.post("limit.txt", b"y" * 200_000).status_code == 201


def test_body_of_unknown_length_is_limited_too(world: World) -> None:
    before = world.files()

    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\n'
        for _ in range(30):
            yield b"z" * 10_000
        yield b"\r\n--b--\r\n"

    answer = world.admin.post(
        "/api/documents", content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 413
    assert "MiB" in answer.json()["error"]["message"]
    assert world.files() == before


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{}", "application/json"),
        (b"nonsense", "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n--b--\r\n', "multipart/form-data; boundary=b"),
    ],
)
def test_not_a_form_is_a_sentence(world: World, content: bytes, kind: str) -> None:
    answer = world.admin.post("/api/documents", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_form")


def test_large_json_is_refused(world: World) -> None:
    answer = world.admin.post("/api/keys", json={"name": "x" * 2_000_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_list_pages_through_everything_once(world: World) -> None:
    for n in range(5):
        world.post(f"page-{n}.txt", f"Page {n}".encode())
    seen: list[str] = []
    after: int | None = None
    while True:
        params = {"limit": 2} if after is None else {"limit": 2, "after": after}
        body = world.admin.get("/api/documents", params=params).json()
        seen += [d["id"] for d in body["documents"]]
        after = body["next"]
        if after is None:
            break
    assert len(seen) == len(set(seen)) == sum(body["counts"].values())


def test_readiness_names_what_is_down(world: World) -> None:
    answer = httpx.get(f"{world.stack.api_url}/ready")
    assert answer.status_code == 503
    states = answer.json()["dependencies"]
    assert states["postgres"] == states["redis"] == "ok"
    assert states["vectordb"] != "ok"
    assert states["ollama"] != "ok"
