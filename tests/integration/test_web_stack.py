"""The stack's page, starting and stopping."""

from __future__ import annotations

import pytest
from django.test import Client

from portal.core.models import AuditEntry
from portal.operations.models import Operation
from tests.support import portal_web
from tests.support.portal_web import text_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


def test_every_service_of_the_stack_file_is_listed_with_its_state_in_words(seen: dict[str, Client]) -> None:
    text = text_of(seen["reader"], "/stack/")
    for service in ("nginx", "api", "ingest", "frontend", "vectordb", "ollama", "redis", "postgres"):
        assert f'mono">{service}</span>' in text
    assert text.count("Stopped</span>") >= 8
    assert 'name="action"' not in text


def test_an_operator_starts_one_service(seen: dict[str, Client]) -> None:
    assert 'name="service" value="api"' in text_of(seen["operator"], "/stack/")
    answer = seen["operator"].post("/stack/act/", {"action": "start", "service": "api"})
    made = Operation.objects.get(kind="stack.start")
    assert (made.target, made.params) == ("stack:rag", {"service": "api"})
    assert made.created_by is not None
    assert answer.headers["Location"] == f"/operations/{made.pk}/"
    assert AuditEntry.objects.filter(action="stack.start.requested", actor_name=portal_web.OPERATOR).exists()


def test_who_stops_the_stack_keeps_the_way_back(seen: dict[str, Client]) -> None:
    seen["operator"].post("/stack/act/", {"action": "stop"})
    assert Operation.objects.get(kind="stack.stop").params == {"keep": ["nginx"]}


def test_the_same_click_twice_is_one_operation(seen: dict[str, Client]) -> None:
    first = seen["operator"].post("/stack/act/", {"action": "restart"})
    assert seen["operator"].post("/stack/act/", {"action": "restart"}).headers["Location"] == first.headers["Location"]
    assert Operation.objects.filter(kind="stack.restart").count() == 1


def test_a_refusal_comes_back_with_the_reason(seen: dict[str, Client]) -> None:
    seen["operator"].post("/stack/act/", {"action": "stop"})
    answer = seen["operator"].post("/stack/act/", {"action": "restart"}, follow=True)
    assert answer.redirect_chain == [("/stack/", 302)]
    assert 'role="alert"' in answer.content.decode()
    assert not Operation.objects.filter(kind="stack.restart").exists()


@pytest.mark.parametrize("fields", [{"action": "rm -rf"}, {}, {"action": "stop", "service": "no/such"}])
def test_nonsense_starts_nothing(seen: dict[str, Client], fields: dict[str, str]) -> None:
    before = Operation.objects.count()
    assert seen["operator"].post("/stack/act/", fields).headers["Location"] == "/stack/"
    assert Operation.objects.count() == before


def test_a_service_that_does_not_exist_is_refused_by_name(seen: dict[str, Client]) -> None:
    answer = seen["operator"].post("/stack/act/", {"action": "stop", "service": "mainframe"}, follow=True)
    assert "mainframe" in answer.content.decode()
    assert seen["operator"].get("/stack/logs/mainframe/").status_code == 404
