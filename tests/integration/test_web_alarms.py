"""The page of alarms and its channels."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client

from portal.alarms import services
from portal.alarms.models import Alarm, Channel, Severity
from portal.core.models import AuditEntry
from tests.support import listeners
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.alarms.rules.stacks.stack_services", lambda _: [])


def text_of(client: Client) -> str:
    return client.get("/alarms/").content.decode()


def test_open_alarms_stand_first_with_what_to_do(seen: dict[str, Client], used: Rows) -> None:
    assert "Nothing is wrong" in text_of(seen["reader"])
    services.alarms_evaluate()
    text = text_of(seen["reader"])
    assert "The last backup failed: The repository is locked." in text
    assert f"/operations/{used.failed.pk}/" in text
    assert text.index("The last backup failed") < text.index("same disk as the data")


def test_what_is_over_stays_as_history(seen: dict[str, Client], used: Rows) -> None:
    services.alarms_evaluate()
    used.failed.delete()
    services.alarms_evaluate()
    text = text_of(seen["reader"])
    assert "What was wrong before" in text
    assert text.index("What was wrong before") < text.index("The last backup failed")


def test_a_channel_is_added_tested_switched_off_and_removed(seen: dict[str, Client], used: Rows) -> None:
    operator = seen["operator"]
    with listeners.webhook() as hook:
        fields = {"name": "hook", "url": f"json://user:a-long-password@127.0.0.1:{hook.port}/x", "least": "bad"}
        assert operator.post("/alarms/channels/add/", fields).status_code == 302
        added = Channel.objects.get(name="hook")
        assert added.least == Severity.BAD
        answer = operator.post("/alarms/channels/hook/test/", follow=True)
        assert "A message went to hook" in answer.content.decode()
        assert len(hook.calls) == 1
    assert "a-long-password" not in text_of(operator)
    operator.post("/alarms/channels/hook/switch/", {"enabled": "no"})
    added.refresh_from_db()
    assert not added.enabled
    operator.post("/alarms/channels/hook/remove/")
    assert not Channel.objects.filter(name="hook").exists()
    assert not Path(added.url_file).exists()
    deeds = AuditEntry.objects.filter(target="channel:hook").values_list("action", flat=True)
    assert set(deeds) == {"channel.added", "channel.off", "channel.removed"}


def test_a_test_that_does_not_arrive_says_why(seen: dict[str, Client], used: Rows) -> None:
    text = seen["operator"].post("/alarms/channels/mail/test/", follow=True).content.decode()
    assert "The message to mail did not arrive." in text


def test_a_wrong_address_comes_back_with_a_sentence(seen: dict[str, Client], used: Rows) -> None:
    fields = {"name": "hook", "url": "nonsense", "least": "bad"}
    answer = seen["operator"].post("/alarms/channels/add/", fields)
    assert answer.status_code == 422
    assert "no address that Apprise understands" in answer.content.decode()
    assert not Channel.objects.filter(name="hook").exists()


def test_readers_see_channels_without_buttons(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["reader"])
    assert "json://127.0.0.1:9" in text
    assert "Add the channel" not in text
    assert "Remove</button>" not in text


def test_an_alarm_is_escaped(seen: dict[str, Client], used: Rows) -> None:
    services.alarms_evaluate()
    Alarm.objects.update(title="<script>alert(1)</script>")
    assert "<script>alert" not in text_of(seen["reader"])
