"""The page of drills and their questions."""

from __future__ import annotations

import pytest
from django.test import Client

from portal.operations.errors import OperationFailed
from portal.vaults.models import Drill, GoldenQuestion
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

ADD = "/drills/questions/add/"


def test_the_last_drills_say_what_was_compared_and_asked(seen: dict[str, Client], used: Rows) -> None:
    text = seen["reader"].get("/drills/").content.decode()
    assert "documents: 1,398 of 1,398" in text
    assert "8 of 8 found" in text
    assert "1 min 34 s" in text


def test_a_question_that_failed_stands_there_with_what_was_found(seen: dict[str, Client], used: Rows) -> None:
    asked = [{"question": "What raises lift?", "expected": ["wing.txt"], "retrieved": ["tail.txt"], "ok": False}]
    golden = {"by": "operator", "questions": 1, "found": 0, "passed": False, "asked": asked}
    Drill.objects.update(report={"checks": [], "golden": golden}, state="failed")
    text = seen["reader"].get("/drills/").content.decode()
    assert "0 of 1 found" in text
    assert "found instead: tail.txt" in text


def test_a_question_is_added_and_removed(seen: dict[str, Client], used: Rows) -> None:
    fields = {"question": "Who signs?", "expected": "rules.pdf\n\nmore.pdf\n"}
    assert seen["operator"].post(ADD, fields).status_code == 302
    made = GoldenQuestion.objects.get(question="Who signs?")
    assert made.expected == ["rules.pdf", "more.pdf"]
    assert made.created_by is not None
    assert "must find rules.pdf, more.pdf" in seen["reader"].get("/drills/").content.decode()
    seen["operator"].post(f"/drills/questions/{made.pk}/remove/")
    assert not GoldenQuestion.objects.filter(pk=made.pk).exists()


def test_a_question_that_cannot_be_asked_comes_back_with_a_sentence(seen: dict[str, Client], used: Rows) -> None:
    answer = seen["operator"].post(ADD, {"question": used.question.question})
    assert answer.status_code == 422
    assert "Drills ask this already." in answer.content.decode()


def test_what_is_found_now_can_be_seen_before(
    seen: dict[str, Client], used: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.web.views.drills.question_try", lambda **_: ["rules.pdf", "other.pdf"])
    text = seen["operator"].post(ADD, {"question": "Who signs?", "try": "yes"}).content.decode()
    assert "rules.pdf<br>other.pdf" in text
    assert not GoldenQuestion.objects.filter(question="Who signs?").exists()


def test_a_stack_that_does_not_answer_is_told_and_the_question_kept(
    seen: dict[str, Client], used: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(**_: str) -> list[str]:
        raise OperationFailed("The stack rag did not answer.", remedy="Start it.")

    monkeypatch.setattr("portal.web.views.drills.question_try", silent)
    answer = seen["operator"].post(ADD, {"question": "Who signs?", "try": "yes"})
    assert answer.status_code == 503
    assert "The stack rag did not answer. Start it." in answer.content.decode()
    assert "Who signs?" in answer.content.decode()
