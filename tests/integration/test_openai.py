"""The service as programs that speak OpenAI's API use it, on real Postgres, Valkey, Chroma, tantivy and models.

OpenAI's own client is no dependency of this project; what it sends and reads is written out here.
"""

from __future__ import annotations

import base64
import json
import secrets
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from rag_api.app import JSON_BYTES, create_app
from rag_api.openai.models import DOCUMENTS as MODEL
from tests.support.asked_rag import DOCUMENTS, Rag, asked_rag, scripted_model, served, signed_in
from tests.support.servers import Postgres, Valkey, free_port, wait_until

pytestmark = pytest.mark.integration

GRANITE = "Why is granite so hard to cut?"
TIRAMISU = "What is the recipe for tiramisu?"
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def rag(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres, valkey_server: Valkey, model_server_url: str
) -> Iterator[Rag]:
    with asked_rag(tmp_path_factory.mktemp("openai"), postgres_server, valkey_server, model_server_url) as found:
        yield found


@contextmanager
def with_settings(rag: Rag, **changes: Any) -> Iterator[httpx.Client]:  # noqa: ANN401 - fields of Settings
    """A client of a second api on the same data, with other settings."""
    with (
        served(create_app(replace(rag.settings, **changes))) as url,
        httpx.Client(base_url=url, headers=rag.client.headers, timeout=120) as client,
    ):
        yield client


def body(*texts: str, **more: object) -> dict[str, object]:
    """A request: the user's and the assistant's messages in turn, the user's last."""
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
    return {"model": MODEL, "messages": messages, **more}


def completed(client: httpx.Client, *texts: str, **more: object) -> dict[str, Any]:
    answer = client.post(CHAT, json=body(*texts, **more))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def text_of(completion: dict[str, Any]) -> str:
    return str(completion["choices"][0]["message"]["content"])


def chunks(client: httpx.Client, *texts: str, **more: object) -> list[Any]:
    """What a streamed answer sends, `[DONE]` included."""
    with client.stream("POST", CHAT, json=body(*texts, stream=True, **more)) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        sent = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    return [event if event == "[DONE]" else json.loads(event) for event in sent]


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def kept(rag: Rag) -> tuple[int, int]:
    (counts,) = rag.rows("SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM messages)")
    return counts[0], counts[1]


def test_the_models_are_listed_and_found(rag: Rag) -> None:
    listed = rag.client.get("/v1/models").json()
    assert listed["object"] == "list"
    # The packaged chat model is none to be asked without documents.
    assert [model["id"] for model in listed["data"]] == [MODEL, "all-minilm"]
    assert rag.client.get(f"/v1/models/{MODEL}").json() == listed["data"][0]
    assert rag.client.get("/v1/models/all-minilm:latest").status_code == 200
    missing = rag.client.get("/v1/models/hf.co/nobody/nothing")
    error = error_of(missing)
    assert (missing.status_code, error["param"], error["code"]) == (404, "model", "model_not_found")
    assert MODEL in error["message"]
    for named, offered in (("llama3.2", [MODEL, "llama3.2", "all-minilm"]), (MODEL, [MODEL, "all-minilm"])):
        with with_settings(rag, chat_model=named) as client:
            assert [model["id"] for model in client.get("/v1/models").json()["data"]] == offered


def test_an_answer_comes_from_the_documents_and_is_not_kept(rag: Rag) -> None:
    before = kept(rag)
    completion = completed(rag.client, GRANITE, user="u-1", store=True)
    assert kept(rag) == before
    assert (completion["object"], completion["model"]) == ("chat.completion", MODEL)
    assert completion["id"].startswith("chatcmpl-")
    (choice,) = completion["choices"]
    assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
    assert text_of(completion).strip()
    first = completion["citations"][0]
    assert (first["n"], first["document"], first["passage"]) == (1, "granite.txt", DOCUMENTS["granite.txt"])
    assert completion["found"] is True
    usage = completion["usage"]
    assert usage["prompt_tokens"] > 50 < usage["total_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens"] <= 128


def test_it_finds_what_the_other_api_finds(rag: Rag) -> None:
    found = [source["chunk_id"] for source in rag.ask(GRANITE)["sources"]]
    assert [source["chunk_id"] for source in completed(rag.client, GRANITE, max_tokens=1)["citations"]] == found


def test_a_streamed_answer_comes_in_chunks_with_citations_at_its_end(rag: Rag) -> None:
    events = chunks(rag.client, GRANITE)
    assert events.pop() == "[DONE]"
    assert len({event["id"] for event in events}) == 1
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    first, *pieces, last = [event["choices"][0] for event in events]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert len(pieces) > 1
    assert "".join(piece["delta"]["content"] for piece in pieces).strip()
    assert {piece["finish_reason"] for piece in pieces} == {None}
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")
    assert events[-1]["citations"][0]["document"] == "granite.txt"
    assert all("citations" not in event and "usage" not in event for event in events[:-1])


def test_a_stream_counts_tokens_when_asked(rag: Rag) -> None:
    *events, usage, done = chunks(rag.client, GRANITE, stream_options={"include_usage": True}, max_tokens=3)
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3
    assert {event["usage"] for event in events} == {None}
    assert events[-1]["choices"][0]["finish_reason"] == "length"


def test_what_is_not_in_the_documents_is_said_without_asking_the_model(rag: Rag) -> None:
    completion = completed(rag.client, TIRAMISU)
    assert text_of(completion).startswith("This is not in your documents")
    assert (completion["found"], completion["citations"]) == (False, [])
    assert completion["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert "This is not" in chunks(rag.client, TIRAMISU)[1]["choices"][0]["delta"]["content"]


def test_a_question_is_understood_with_the_ones_before_it(rag: Rag) -> None:
    alone = completed(rag.client, "And how often?")
    assert alone["found"] is False
    earlier = ("How is the coolant pump greased?", "With grease [1].")
    assert completed(rag.client, *earlier, "And how often?", max_tokens=1)["citations"][0]["document"] == "pump.txt"


def test_nothing_gets_into_an_answer_that_the_key_may_not_read(rag: Rag) -> None:
    account = {"email": "mallory@ragkeep.local", "name": "Mallory", "password": secrets.token_urlsafe(16)}
    rag.client.post("/api/users", json=account).raise_for_status()
    base = rag.rows("SELECT base_id FROM documents LIMIT 1")[0][0]
    assert completed(rag.client, GRANITE, base=str(base), max_tokens=1)["found"] is True
    with signed_in(rag.url, account["email"], account["password"]) as session:
        made = session.post("/api/keys", json={"name": "program"}).json()
        with httpx.Client(base_url=rag.url, headers={"Authorization": f"Bearer {made['key']}"}, timeout=120) as client:
            assert completed(client, GRANITE)["citations"] == []
            refused = client.post(CHAT, json=body(GRANITE, base=str(base)))
            assert (refused.status_code, error_of(refused)["code"]) == (404, "not_found")
            session.delete(f"/api/keys/{made['id']}").raise_for_status()
            revoked = client.post(CHAT, json=body(GRANITE))
            assert (revoked.status_code, error_of(revoked)["type"]) == (401, "authentication_error")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("GET", "/v1/models/ragkeep"), ("POST", CHAT), ("POST", "/v1/embeddings")],
)
def test_without_a_key_there_is_nothing(rag: Rag, method: str, path: str) -> None:
    answer = httpx.request(method, f"{rag.url}{path}", json={} if method == "POST" else None)
    error = error_of(answer)
    assert (answer.status_code, error["type"], error["code"]) == (401, "authentication_error", "unauthenticated")


@pytest.mark.parametrize(
    ("more", "status", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
        ({"messages": [{"role": "judge", "content": "x"}]}, 400, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content[0]"),
        ({"temperature": 9}, 400, "temperature"),
        ({"model": "gpt-4o"}, 404, "model"),
        ({"model": "all-minilm"}, 404, "model"),
        ({"user": "x" * JSON_BYTES}, 413, None),
    ],
)
def test_what_cannot_be_done_is_refused_in_openais_form(
    rag: Rag, more: dict[str, object], status: int, param: str | None
) -> None:
    answer = rag.client.post(CHAT, json=body(GRANITE, **more))
    error = error_of(answer)
    assert (answer.status_code, error["type"], error["param"]) == (status, "invalid_request_error", param)


def test_other_addresses_are_not_found_in_openais_form(rag: Rag) -> None:
    answer = rag.client.post("/v1/responses", json={})
    assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


def watched_model(url: str, bodies: list[dict[str, Any]]) -> FastAPI:
    """Passes everything on to the model server and notes what the chat was asked."""
    app = FastAPI()

    @app.post("/api/{verb}")
    async def passed_on(request: Request, verb: str) -> Response:
        asked = await request.json()
        if verb == "chat":
            bodies.append(asked)
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"{url}/api/{verb}", json=asked)
        return Response(answer.content, answer.status_code)

    return app


def test_options_and_instructions_reach_the_model(rag: Rag) -> None:
    bodies: list[dict[str, Any]] = []
    messages = [{"role": "system", "content": "Answer in Latin."}, {"role": "user", "content": GRANITE}]
    with (
        served(watched_model(rag.settings.ollama_url, bodies)) as url,
        with_settings(rag, ollama_url=url) as client,
    ):
        options = {"temperature": 0.3, "top_p": 0.8, "seed": 5, "stop": ["END"], "max_tokens": 7}
        completion = completed(client, messages=messages, **options)
    (asked,) = bodies
    wanted = {"temperature": 0.3, "top_p": 0.8, "seed": 5, "stop": ["END"], "num_predict": 7, "num_ctx": 2048}
    assert {name: asked["options"][name] for name in wanted} == wanted
    assert asked["messages"][0]["role"] == "system"
    assert asked["messages"][0]["content"].endswith("Answer in Latin.")
    assert completion["usage"]["completion_tokens"] <= 7


def test_the_model_stops_when_the_client_goes_away(rag: Rag) -> None:
    gone, before = threading.Event(), kept(rag)
    with (
        served(scripted_model(rag.settings, gone)) as url,
        with_settings(rag, ollama_url=url) as client,
    ):
        with client.stream("POST", CHAT, json=body(GRANITE, stream=True)) as answer:
            lines = (line for line in answer.iter_lines() if line)
            assert [json.loads(next(lines)[6:])["choices"][0]["delta"]["content"] for _ in range(3)][1:] == [
                "more "
            ] * 2
            # Whoever is about to end the process waits for it.
            assert client.get("/idle").json() == {"requests": 1}
        assert gone.wait(10)
        wait_until(lambda: client.get("/idle").status_code == 200, what="the end of the request", seconds=10)
    assert kept(rag) == before


def test_without_a_model_the_client_is_told_whole_or_in_the_stream(rag: Rag) -> None:
    with with_settings(rag, chat_model="nope") as client:
        answer = client.post(CHAT, json=body(GRANITE))
        role, error = chunks(client, GRANITE)
    assert answer.status_code == 503
    assert (error_of(answer)["type"], error_of(answer)["code"]) == ("server_error", "model_unavailable")
    assert error == answer.json()
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert "kept" not in error["error"]["message"]


def test_without_a_model_server_asking_is_unavailable(rag: Rag) -> None:
    with with_settings(rag, ollama_url=f"http://127.0.0.1:{free_port()}") as client:
        for path, asked in ((CHAT, body(GRANITE)), ("/v1/embeddings", {"model": "all-minilm", "input": "x"})):
            answer = client.post(path, json=asked)
            assert (answer.status_code, error_of(answer)["code"]) == (503, "unavailable"), path


@pytest.fixture
def larger(rag: Rag) -> Iterator[str]:
    """The packaged model by another name, as if the operator had named one."""
    names = {"source": "smollm2:135m", "destination": "larger:1b"}
    with httpx.Client(base_url=rag.settings.ollama_url, timeout=60) as server:
        server.post("/api/copy", json=names).raise_for_status()
        yield names["destination"]
        server.request("DELETE", "/api/delete", json={"model": names["destination"]}).raise_for_status()


def test_the_installations_model_answers_without_documents(rag: Rag, larger: str) -> None:
    with with_settings(rag, chat_model=larger) as client:
        completion = completed(client, "Tell me all about stones.", model=larger, max_completion_tokens=5)
        events = chunks(client, "Tell me all about stones.", model=larger, max_completion_tokens=5)
        too_long = client.post(CHAT, json=body("word " * 2000, model=larger))
    assert text_of(completion).strip()
    assert "citations" not in completion
    assert (completion["choices"][0]["finish_reason"], completion["usage"]["completion_tokens"]) == ("length", 5)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events[:-1]).strip()
    assert (too_long.status_code, error_of(too_long)["code"]) == (400, "context_length_exceeded")


def test_texts_become_the_models_vectors(rag: Rag) -> None:
    texts = [f"stone {number}" for number in range(70)]
    asked = {"model": "all-minilm", "input": texts}
    answer = rag.client.post("/v1/embeddings", json=asked).json()
    assert [entry["index"] for entry in answer["data"]] == list(range(70))
    assert answer["usage"]["prompt_tokens"] >= 2 * len(texts)
    theirs = httpx.post(f"{rag.settings.ollama_url}/api/embed", json=asked, timeout=60).json()["embeddings"]
    assert [entry["embedding"] for entry in answer["data"]] == [pytest.approx(vector, abs=1e-5) for vector in theirs]
    coded = rag.client.post("/v1/embeddings", json={**asked, "input": texts[0], "encoding_format": "base64"}).json()
    vector = struct.unpack("<384f", base64.b64decode(coded["data"][0]["embedding"]))
    assert vector == pytest.approx(answer["data"][0]["embedding"], abs=1e-5)


@pytest.mark.parametrize(
    ("more", "status", "param"),
    [
        ({"input": "stone " * 2000}, 400, "input"),
        ({"input": [[1, 2]]}, 400, "input[0]"),
        ({"dimensions": 10}, 400, "dimensions"),
        ({"model": MODEL}, 404, "model"),
        ({"encoding_format": "int8"}, 400, "encoding_format"),
    ],
)
def test_texts_that_cannot_be_embedded_are_refused(rag: Rag, more: dict[str, object], status: int, param: str) -> None:
    answer = rag.client.post("/v1/embeddings", json={"model": "all-minilm", "input": "stone", **more})
    assert (answer.status_code, error_of(answer)["param"]) == (status, param)
