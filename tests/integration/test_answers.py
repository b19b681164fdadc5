"""Search, answers and conversations over HTTP, on real Postgres, Valkey, Chroma, tantivy and models."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest

from rag_api.app import create_app
from tests.support.asked_rag import DOCUMENTS, Rag, asked_rag, scripted_model, served, signed_in
from tests.support.servers import Postgres, Valkey, free_port, wait_until

pytestmark = pytest.mark.integration

GRANITE = "Why is granite so hard to cut?"
TIRAMISU = "What is the recipe for tiramisu?"


@pytest.fixture(scope="module")
def rag(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres, valkey_server: Valkey, model_server_url: str
) -> Iterator[Rag]:
    with asked_rag(tmp_path_factory.mktemp("answers"), postgres_server, valkey_server, model_server_url) as found:
        yield found


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_search_finds_by_meaning_and_by_words(rag: Rag) -> None:
    for question, document in ((GRANITE, "granite.txt"), ("P-4711", "pump.txt"), ("dark lava stone", "basalt.md")):
        answer = rag.client.post("/api/search", json={"question": question, "k": 2}).json()
        assert answer["found"] is True, question
        assert answer["hits"][0]["document"] == document
        assert len(answer["hits"]) == 2
    assert answer["hits"][0]["passage"].startswith("Basalt")
    assert answer["hits"][0]["page"] is None


@pytest.mark.parametrize("question", [TIRAMISU, "xkcd blorp fnord", "who won the world cup in 1998"])
def test_what_is_not_in_the_documents_is_not_found(rag: Rag, question: str) -> None:
    assert rag.client.post("/api/search", json={"question": question}).json()["found"] is False
    answer = rag.ask(question)
    assert (answer["found"], answer["sources"], answer["model"]) == (False, [], "")
    assert answer["answer"].startswith("This is not in your documents")


def test_an_answer_has_numbered_sources_and_is_kept(rag: Rag) -> None:
    answer = rag.ask(GRANITE)
    assert answer["found"] is True
    assert answer["answer"].strip()
    assert answer["model"] == "smollm2:135m"
    first = answer["sources"][0]
    assert (first["n"], first["document"]) == (1, "granite.txt")
    assert first["passage"] == DOCUMENTS["granite.txt"]
    assert 0 < first["similarity"] <= 1
    kept = rag.client.get(f"/api/conversations/{answer['conversation_id']}").json()
    assert [(message["role"], message["text"]) for message in kept["messages"]] == [
        ("user", GRANITE), ("assistant", answer["answer"])
    ]  # fmt: skip
    assert kept["messages"][1]["sources"] == answer["sources"]
    assert kept["title"] == GRANITE


def test_a_streamed_answer_sends_sources_then_tokens_then_the_whole(rag: Rag) -> None:
    with rag.client.stream("POST", "/api/ask", json={"question": GRANITE, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        received = list(events(response.iter_lines()))
    assert received[0][0] == "sources"
    assert received[0][1]["sources"][0]["document"] == "granite.txt"
    name, done = received[-1]
    assert name == "done"
    tokens = [data["text"] for name, data in received if name == "token"]
    assert len(tokens) > 1
    assert "".join(tokens).strip() == done["answer"]


def test_a_conversation_goes_on_lists_and_can_be_deleted(rag: Rag) -> None:
    first = rag.ask("How often must the coolant pump be greased?")
    second = rag.ask("And what about its seal?", conversation_id=first["conversation_id"])
    assert second["conversation_id"] == first["conversation_id"]
    assert second["sources"][0]["document"] == "pump.txt"
    listed = rag.client.get("/api/conversations").json()["conversations"]
    assert listed[0]["id"] == first["conversation_id"]
    path = f"/api/conversations/{first['conversation_id']}"
    assert len(rag.client.get(path).json()["messages"]) == 4
    assert rag.client.delete(path).status_code == 204
    assert rag.client.get(path).status_code == 404


def test_nobody_finds_or_opens_what_is_not_theirs(rag: Rag) -> None:
    account = {"email": "eve@ragkeep.local", "name": "Eve", "password": secrets.token_urlsafe(16)}
    rag.client.post("/api/users", json=account).raise_for_status()
    conversation = rag.ask(TIRAMISU)["conversation_id"]
    base = rag.rows("SELECT base_id FROM documents LIMIT 1")[0][0]
    with signed_in(rag.url, account["email"], account["password"]) as eve:
        assert eve.post("/api/search", json={"question": GRANITE}).json() == {"hits": [], "found": False}
        for path, body in (("search", {}), ("ask", {}), ("ask", {"stream": True})):
            answer = eve.post(f"/api/{path}", json={"question": GRANITE, "base": str(base), **body})
            assert answer.status_code == 404
        assert eve.get(f"/api/conversations/{conversation}").status_code == 404
        assert eve.delete(f"/api/conversations/{conversation}").status_code == 404
        asked = eve.post("/api/ask", json={"question": GRANITE, "conversation_id": conversation})
        assert asked.status_code == 404
    assert httpx.post(f"{rag.url}/api/ask", json={"question": GRANITE}).status_code == 401


def test_a_chunk_that_postgres_does_not_serve_is_never_shown(rag: Rag) -> None:
    (chunk,) = rag.client.post("/api/search", json={"question": "coolant pump", "k": 1}).json()["hits"]
    with psycopg.connect(rag.settings.postgres_conninfo(), autocommit=True) as connection:
        for state, generation in (("deleting", 1), ("ready", 2)):
            change = "UPDATE documents SET state = %s, live_generation = %s WHERE id = %s"
            connection.execute(change, (state, generation, chunk["document_id"]))
            hits = rag.client.post("/api/search", json={"question": "coolant pump"}).json()["hits"]
            connection.execute(change, ("ready", 1, chunk["document_id"]))
            assert hits
            assert chunk["chunk_id"] not in [hit["chunk_id"] for hit in hits]


def test_who_may_read_most_of_everything_sees_nothing_of_the_rest(rag: Rag) -> None:
    account = {"email": "otto@ragkeep.local", "name": "Otto", "password": secrets.token_urlsafe(16)}
    made = rag.client.post("/api/users", json=account).raise_for_status().json()
    ((theirs,),) = rag.rows("SELECT id FROM bases WHERE owner_id = %s", made["id"])
    ((document, ours),) = rag.rows("SELECT id, base_id FROM documents WHERE name = 'pump.txt'")
    move = "UPDATE documents SET base_id = %s WHERE id = %s"
    with psycopg.connect(rag.settings.postgres_conninfo(), autocommit=True) as connection:
        connection.execute(move, (theirs, document))
        found = rag.client.post("/api/search", json={"question": "coolant pump", "k": 20}).json()["hits"]
        connection.execute(move, (ours, document))
    assert found
    assert str(document) not in [hit["document_id"] for hit in found]


def test_the_canary_asks_by_vectors_with_the_internal_token_only(rag: Rag) -> None:
    embed = {"model": "all-minilm", "input": [GRANITE, "coolant pump"]}
    vectors = httpx.post(f"{rag.settings.ollama_url}/api/embed", json=embed, timeout=60).json()["embeddings"]
    body = {"collection": rag.rows("SELECT name FROM collections WHERE active")[0][0], "vectors": vectors, "k": 2}
    assert rag.client.post("/internal/nearest", json=body).status_code == 401
    headers = {"Authorization": f"Bearer {rag.settings.internal_token.reveal()}"}
    answer = httpx.post(f"{rag.url}/internal/nearest", json=body, headers=headers).json()
    named = {str(chunk): name for chunk, name in rag.rows("SELECT chunk_id, name FROM visible_chunks")}
    assert [named[ids[0]] for ids in answer["chunk_ids"]] == ["granite.txt", "pump.txt"]
    assert [len(ids) for ids in answer["chunk_ids"]] == [2, 2]
    gone = httpx.post(f"{rag.url}/internal/nearest", json={**body, "collection": "none"}, headers=headers)
    assert gone.status_code == 409


@pytest.mark.parametrize("body", [{"question": "  "}, {"question": "x" * 2001}, {"question": "x", "k": 0}, {}])
def test_a_wrong_request_gets_a_sentence(rag: Rag, body: Mapping[str, object]) -> None:
    answer = rag.client.post("/api/search", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_the_model_stops_when_the_asker_goes_away(rag: Rag, stream: bool) -> None:
    gone, before = threading.Event(), rag.rows("SELECT count(*) FROM messages WHERE role = 'assistant'")[0][0]
    with (
        served(scripted_model(rag.settings, gone)) as url,
        served(create_app(replace(rag.settings, ollama_url=url))) as api,
        httpx.Client(base_url=api, headers=rag.client.headers, timeout=3) as client,
    ):
        if stream:
            with client.stream("POST", "/api/ask", json={"question": GRANITE, "stream": True}) as response:
                lines = response.iter_lines()
                assert [next(events(lines))[0] for _ in range(3)] == ["sources", "token", "token"]
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post("/api/ask", json={"question": GRANITE})
        assert gone.wait(10)
        query = "SELECT content FROM messages WHERE role = 'assistant' ORDER BY id"
        wait_until(lambda: len(rag.rows(query)) == before + 1, what="the kept part of the answer", seconds=10)
    assert rag.rows(query)[-1][0].startswith("more more")


def test_without_a_model_the_question_is_kept_and_a_sentence_says_so(rag: Rag) -> None:
    question = "Does granite need a missing model?"
    with (
        served(create_app(replace(rag.settings, chat_model="nope"))) as api,
        httpx.Client(base_url=api, headers=rag.client.headers, timeout=60) as client,
    ):
        answer = client.post("/api/ask", json={"question": question})
        with client.stream("POST", "/api/ask", json={"question": question, "stream": True}) as response:
            name, error = list(events(response.iter_lines()))[-1]
    assert answer.status_code == 503
    assert answer.json()["error"] == error
    assert name == "error"
    assert "question is kept" in error["message"]
    assert len(rag.rows("SELECT 1 FROM messages WHERE role = 'user' AND content = %s", question)) == 2


def test_without_a_model_server_asking_is_unavailable(rag: Rag) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        served(create_app(replace(rag.settings, ollama_url=nowhere))) as api,
        httpx.Client(base_url=api, headers=rag.client.headers, timeout=60) as client,
    ):
        answer = client.post("/api/ask", json={"question": "Is granite asked of nobody?"})
    assert answer.status_code == 503
    assert rag.rows("SELECT 1 FROM messages WHERE content = %s", "Is granite asked of nobody?")
