"""Which sentences a drill asks, and how what is retrieved is judged."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from backups.golden import sentence, spread
from backups.manifest import Golden
from backups.restore import golden
from backups.restore.canary import Api
from backups.restore.errors import CanaryUnreached

PASSAGE = (
    "Fig. 3. The wing of the model was tested at low speed. "
    "The slipstream of the propeller raises the lift of the wing behind it by a third at most! 1 2 3 4 5 6 7 8 9."
)


def test_the_sentence_with_the_most_words_is_asked_as_it_stands() -> None:
    best = sentence(PASSAGE)
    assert best == "The slipstream of the propeller raises the lift of the wing behind it by a third at most!"
    assert best in PASSAGE


@pytest.mark.parametrize("text", ["", "Too short.", "1 2 3 4 5 6 7 8 9 10.", "word " * 100])
def test_a_passage_without_a_sentence_of_a_question_s_length_gives_none(text: str) -> None:
    assert sentence(text) == ""


def test_questions_are_spread_over_the_whole_list() -> None:
    found = [Golden(str(number), ()) for number in range(16)]
    assert [one.question for one in spread(found, 4)] == ["0", "4", "8", "12"]
    assert spread(found[:3], 4) == found[:3]


def service(hits: dict[str, list[tuple[str, str]]], found: bool = True) -> Api:
    """A RAG service that answers each question with (name, id) pairs."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)["question"]
        listed = [{"document": name, "document_id": key} for name, key in hits.get(asked, [])]
        return httpx.Response(200, json={"hits": listed, "found": found})

    return Api(httpx.Client(transport=httpx.MockTransport(answer), base_url="http://rag"))


@pytest.fixture
def api() -> Api:
    return service({"a": [("one.txt", "1"), ("two.txt", "2")], "b": [("two.txt", "2")]})


def test_a_question_of_the_set_needs_one_of_its_documents(api: Api) -> None:
    assert golden.ask(api, Golden("a", ("2", "9")), every=False).ok
    assert not golden.ask(api, Golden("b", ("1",)), every=False).ok


def test_a_question_of_the_operator_needs_every_document_by_name(api: Api) -> None:
    assert golden.ask(api, Golden("a", ("one.txt", "two.txt")), every=True).ok
    assert not golden.ask(api, Golden("b", ("one.txt", "two.txt")), every=True).ok


def test_a_question_without_documents_needs_something_that_is_about_it(api: Api) -> None:
    assert golden.ask(api, Golden("a", ()), every=True).ok
    assert not golden.ask(service({"a": [("one.txt", "1")]}, found=False), Golden("a", ()), every=True).ok


def test_the_operator_s_questions_are_asked_instead_of_the_set_s(api: Api) -> None:
    report: dict[str, Any] = golden.report(api, [Golden("b", ("one.txt",))], [Golden("a", ("1",))])
    assert (report["by"], report["questions"], report["found"], report["passed"]) == ("operator", 1, 0, False)
    assert report["asked"][0]["retrieved"] == ["two.txt"]


def test_one_in_ten_of_the_set_s_questions_may_miss(api: Api) -> None:
    good, bad = Golden("a", ("1",)), Golden("b", ("1",))
    assert golden.report(api, [], [good] * 9 + [bad])["passed"]
    failed = golden.report(api, [], [good] * 8 + [bad] * 2)
    assert not failed["passed"]
    assert [one["ok"] for one in failed["asked"][:3]] == [False, False, True]


def test_no_questions_are_no_failure(api: Api) -> None:
    assert golden.report(api, [], [])["passed"]


def test_an_answer_that_is_none_is_told_apart() -> None:
    strange = Api(
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json={})), base_url="http://rag")
    )
    with pytest.raises(CanaryUnreached):
        golden.ask(strange, Golden("a", ()), every=True)
