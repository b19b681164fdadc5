"""The pages of deploying, of releases, and of rolling back."""

from __future__ import annotations

import pytest
from django.test import Client

from portal.operations.models import Operation, State
from portal.stacks.models import Release
from tests.support import portal_web
from tests.support.portal_web import Rows, text_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


def looked(**changes: object) -> str:
    """The page of a deploy whose look has come to this plan."""
    operation = portal_web.operation("stack.plan", result={"plan": {**portal_web.DEPLOY_PLAN, **changes}})
    return f"/stack/deploy/?plan={operation.pk}"


def test_a_deploy_begins_with_a_look(seen: dict[str, Client]) -> None:
    assert "See what would change" in text_of(seen["operator"], "/stack/deploy/")
    answer = seen["operator"].post("/stack/deploy/look/")
    look = Operation.objects.get(kind="stack.plan", state=State.QUEUED)
    assert answer.headers["Location"] == f"/stack/deploy/?plan={look.pk}"
    assert "every 1s" in text_of(seen["operator"], answer.headers["Location"])


def test_the_plan_says_what_changes_why_and_what_stands_still(seen: dict[str, Client]) -> None:
    text = text_of(seen["operator"], looked())
    assert "Its environment (LOG_LEVEL) changed" in text
    assert text.count("stands still for a moment") == 1
    assert "postgres is replaced: it keeps the data of postgres" in text
    assert "every 1s" not in text
    assert 'action="/stack/deploy/begin/"' in text
    assert 'name="backup"' in text


def test_what_is_in_the_way_stands_there_instead_of_a_button(seen: dict[str, Client]) -> None:
    problem = {"path": "services", "message": "port 8080 is held by python3 (pid 7)", "remedy": "stop that program"}
    text = text_of(seen["operator"], looked(problems=[problem]))
    assert "port 8080 is held by python3" in text
    assert "Stop that program." in text
    assert 'action="/stack/deploy/begin/"' not in text


def test_nothing_to_do_is_said(seen: dict[str, Client]) -> None:
    text = text_of(seen["operator"], looked(nothing=True, changes=[], touches=[], settings={}, files={}, backup=False))
    assert "Nothing to do" in text
    assert 'action="/stack/deploy/begin/"' not in text


def test_a_look_that_failed_tells_why(seen: dict[str, Client]) -> None:
    error = {"code": "stack_file", "message": "stack.yaml:7: is not YAML", "remedy": "Correct it."}
    operation = portal_web.operation("stack.plan", state=State.FAILED, error=error)
    assert "stack.yaml:7: is not YAML" in text_of(seen["operator"], f"/stack/deploy/?plan={operation.pk}")


def test_a_deploy_keeps_the_note_and_the_choice(seen: dict[str, Client]) -> None:
    seen["operator"].post("/stack/deploy/begin/", {"note": "why not", "backup": "no"})
    assert Operation.objects.get(kind="stack.deploy").params == {"note": "why not", "backup": False}


def test_a_note_that_is_too_long_is_refused_in_place(seen: dict[str, Client]) -> None:
    answer = seen["operator"].post("/stack/deploy/begin/", {"note": "x" * 501})
    assert answer.status_code == 422
    assert not Operation.objects.filter(kind="stack.deploy").exists()


def test_releases_are_listed_with_state_author_and_note(seen: dict[str, Client]) -> None:
    text = text_of(seen["reader"], "/releases/")
    for words in ("Serves", "Kept", "Failed", "Quieter logs.", portal_web.OPERATOR):
        assert words in text
    assert "roll-back" not in text
    assert text_of(seen["operator"], "/releases/").count("/roll-back/") == 1


def test_a_release_shows_what_changed_and_no_value(seen: dict[str, Client]) -> None:
    text = text_of(seen["reader"], "/releases/2/")
    assert "What changed since release 1" in text
    assert "-      LOG_LEVEL: (hidden) aaaaaaaaaaaa" in text
    assert 'mono">CHAT_MODEL</span> added' in text
    assert "sha256:bbbbbbbbbbbb" in text


def test_two_releases_are_compared_either_way(seen: dict[str, Client]) -> None:
    assert "CHAT_MODEL</span> removed" in text_of(seen["reader"], "/releases/compare/?a=2&b=1")
    assert "They are the same" in text_of(seen["reader"], "/releases/compare/?a=2&b=2")
    assert "Choose two releases" in text_of(seen["reader"], "/releases/compare/?a=2&b=77")


def test_a_roll_back_offers_what_is_possible(seen: dict[str, Client]) -> None:
    text = text_of(seen["operator"], "/releases/1/roll-back/")
    assert 'value="code"' in text
    assert "No backup set was taken" in text
    assert 'value="data"' not in text
    seen["operator"].post("/releases/1/roll-back/", {"what": "code", "note": "worse"})
    assert Operation.objects.get(kind="stack.rollback").params == {"release": 1, "data": False, "note": "worse"}


def test_a_roll_back_to_code_that_does_not_know_the_schema_is_offered_with_its_data_only(
    seen: dict[str, Client], used: Rows
) -> None:
    Release.objects.filter(number=1).update(schema={"code": "0003"})
    Release.objects.filter(number=2).update(set_before=used.good.pk)
    text = text_of(seen["operator"], "/releases/1/roll-back/")
    assert "The code alone cannot go back" in text
    assert 'value="code"' not in text
    assert used.good.pk in text
    refused = seen["operator"].post("/releases/1/roll-back/", {"what": "code"})
    assert refused.status_code == 422


@pytest.mark.parametrize("number", [2, 3])
def test_what_serves_or_never_did_is_not_gone_back_to(seen: dict[str, Client], number: int) -> None:
    answer = seen["operator"].post(f"/releases/{number}/roll-back/", {"what": "code"})
    assert answer.status_code == 422
    assert not Operation.objects.filter(kind="stack.rollback").exists()


def test_a_release_that_is_not_there_is_not_found(seen: dict[str, Client]) -> None:
    for address in ("/releases/77/", "/releases/77/roll-back/"):
        assert seen["operator"].get(address).status_code == 404
