"""The gateway to Chroma: what is asked again, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest

from rag_api import vectors
from rag_api.errors import VectorsDownError
from rag_api.vectors import VectorRecord, Vectors

FAILED = httpx.Response(500, json={"error": "InternalError", "message": "Error finding id"})


@contextmanager
def gateway(answers: Callable[[httpx.Request], httpx.Response]) -> Iterator[Vectors]:
    """A gateway whose Chroma knows one collection and answers everything else by `answers`."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.url.path.endswith("/kb"):
            return httpx.Response(200, json={"id": "0"})
        return answers(request)

    found = Vectors("http://chroma")
    found._client = httpx.Client(base_url="http://chroma", transport=httpx.MockTransport(handle))
    yield found
    found.close()


def test_a_query_that_meets_a_delete_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_READ_AGAIN", (0, 0))
    chunk, answers = uuid4(), iter([FAILED, FAILED])

    def answer(_: httpx.Request) -> httpx.Response:
        return next(answers, httpx.Response(200, json={"ids": [[str(chunk)]], "distances": [[0.25]]}))

    with gateway(answer) as found:
        ((hit,),) = found.query("kb", [[1.0]], 1)
    assert (hit.chunk_id, hit.score) == (chunk, 0.75)


def test_a_query_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_READ_AGAIN", (0, 0))
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return FAILED

    with gateway(answer) as found, pytest.raises(VectorsDownError, match="Error finding id"):
        found.query("kb", [[1.0]], 1)
    assert len(asked) == 3


def test_a_write_is_never_repeated() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return FAILED

    with gateway(answer) as found, pytest.raises(VectorsDownError):
        found.upsert("kb", [VectorRecord(uuid4(), [1.0], uuid4(), uuid4())])
    assert len(asked) == 1
