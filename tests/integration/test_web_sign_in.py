"""Signing in and out, guessing, changing a password."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from portal.core.models import AuditEntry
from portal.web import throttle
from tests.support.portal_web import OPERATOR, PASSWORD, READER, clients

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


def attempt(client: Client, name: str, password: str, **extra: str) -> tuple[int, str, str]:
    answer = client.post("/sign-in/", {"username": name, "password": password, **extra})
    return answer.status_code, answer.headers.get("Location", ""), answer.content.decode()


@pytest.fixture(autouse=True)
def accounts() -> dict[str, Client]:
    return clients()


def test_the_right_password_leads_back_to_where_one_came_from(client: Client) -> None:
    asked = client.get("/sets/?page=2")
    assert asked.headers["Location"] == "/sign-in/?next=/sets/%3Fpage%3D2"
    assert 'name="next" value="/sets/?page=2"' in client.get(asked.headers["Location"]).content.decode()
    assert attempt(client, OPERATOR, PASSWORD, next="/sets/?page=2")[:2] == (302, "/sets/?page=2")
    assert AuditEntry.objects.filter(action="sign-in", actor_name=OPERATOR).exists()


def test_the_address_is_read_as_people_write_it(client: Client) -> None:
    assert attempt(client, f"  {OPERATOR.upper()} ", PASSWORD)[0] == 302


def test_nobody_is_led_to_another_site(client: Client) -> None:
    assert attempt(client, OPERATOR, PASSWORD, next="https://evil.example/")[:2] == (302, "/")


@pytest.mark.parametrize(("name", "password"), [(OPERATOR, "wrong"), ("nobody@example.org", PASSWORD)])
def test_wrong_password_and_unknown_account_read_the_same(client: Client, name: str, password: str) -> None:
    status, _, page = attempt(client, name, password)
    assert status == 200
    assert "do not belong together" in page
    assert password not in page


def test_an_account_that_was_switched_off_stays_out(client: Client) -> None:
    User.objects.filter(username=READER).update(is_active=False)
    assert attempt(client, READER, PASSWORD)[0] == 200
    assert "_auth_user_id" not in client.session


def test_guessing_ends_after_a_few_failures_even_with_the_right_password(client: Client) -> None:
    for _ in range(throttle.PER_NAME_AND_ADDRESS):
        assert "do not belong together" in attempt(client, OPERATOR, "wrong")[2]
    status, _, page = attempt(client, OPERATOR, PASSWORD)
    assert (status, "Wait 15 minutes" in page) == (200, True)
    assert attempt(client, READER, PASSWORD)[0] == 302


def test_one_address_cannot_try_one_password_on_many_accounts(client: Client) -> None:
    for number in range(throttle.PER_ADDRESS):
        throttle.failed(name=f"{number}@example.org", address="127.0.0.1")
    assert "Wait 15 minutes" in attempt(client, READER, PASSWORD)[2]
    assert attempt(Client(REMOTE_ADDR="192.0.2.7"), READER, PASSWORD)[0] == 302


def test_failures_are_forgotten_after_the_window(client: Client) -> None:
    for _ in range(throttle.PER_NAME_AND_ADDRESS):
        throttle.failed(name=OPERATOR, address="127.0.0.1")
    AuditEntry.objects.filter(action=throttle.ACTION).update(at=timezone.now() - throttle.WINDOW - timedelta(seconds=1))
    assert attempt(client, OPERATOR, PASSWORD)[0] == 302


def test_signing_out_ends_the_session(accounts: dict[str, Client]) -> None:
    operator = accounts["operator"]
    assert operator.get("/help/").status_code == 200
    assert operator.post("/sign-out/").headers["Location"] == "/sign-in/"
    assert operator.get("/help/").status_code == 302


def test_a_live_page_whose_session_ended_reloads_instead_of_nesting_the_sign_in_page(client: Client) -> None:
    answer = client.get("/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Refresh"], answer.content) == (401, "true", b"")


def test_changing_the_password_ends_other_sessions(accounts: dict[str, Client], client: Client) -> None:
    other, new = accounts["reader"], "a much longer new password"
    assert client.login(username=READER, password=PASSWORD)
    fields = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert client.post("/password/", fields).status_code == 302
    assert client.get("/help/").status_code == 200
    assert other.get("/help/").status_code == 302
    assert AuditEntry.objects.filter(action="password.changed", actor_name=READER).exists()


def test_a_short_password_is_refused_with_the_rule(accounts: dict[str, Client]) -> None:
    fields = {"old_password": PASSWORD, "new_password1": "short", "new_password2": "short"}
    answer = accounts["reader"].post("/password/", fields)
    assert answer.status_code == 200
    assert "at least 12 characters" in answer.content.decode()
