"""The portal's health: open to whoever supervises it, and honest about what it needs."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from tests.support import servers

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def valkey(settings: Settings, valkey_server: servers.Valkey) -> None:
    settings.VALKEY_URL = valkey_server.url


def test_health_needs_no_sign_in(client: Client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"database": "ok", "valkey": "ok"})
    assert not answer.cookies


def test_a_queue_that_is_gone_is_named(client: Client, settings: Settings) -> None:
    settings.VALKEY_URL = f"redis://127.0.0.1:{servers.free_port()}/0"
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"database": "ok", "valkey": "does not answer"})


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_gone_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", str(servers.free_port()))
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"database": "does not answer", "valkey": "ok"})
    connection.close()
