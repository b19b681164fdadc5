"""What a server says of its work, so that nobody ends it in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from frontend.atwork import at_work
from rag_api.inflight import CountRequests, InFlight
from rag_api.routes import health


def test_a_chat_at_work_leaves_a_file_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSWERING_DIR", str(tmp_path))
    with at_work(), at_work():
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="broken"), at_work():
        raise ValueError("broken")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("ANSWERING_DIR")
    with at_work():
        assert list(tmp_path.iterdir()) == []


def test_the_api_is_idle_once_every_answer_has_been_sent_whole() -> None:
    app = FastAPI()
    app.state.in_flight = InFlight()
    app.add_middleware(CountRequests, in_flight=app.state.in_flight)
    app.include_router(health.router)
    seen: list[tuple[int, int]] = []
    with TestClient(app) as client:

        @app.get("/api/stream")
        def stream() -> StreamingResponse:
            return StreamingResponse(pieces())

        def pieces() -> Iterator[str]:
            told = client.get("/idle")
            seen.append((told.status_code, told.json()["requests"]))
            yield "one"

        assert client.get("/idle").status_code == 200
        assert client.get("/api/stream").text == "one"
        assert client.get("/idle").json() == {"requests": 0}
    assert seen == [(503, 1)]
