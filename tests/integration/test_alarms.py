"""Alarms are raised once, told through real channels, and cleared; a dead man's switch hears of every run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from backups.secret import write_secret
from portal.alarms import channels, deadman, services
from portal.alarms.conditions import Condition, conditions_now
from portal.alarms.models import Alarm, Channel, Notice, Severity
from portal.alarms.selectors import alarm_list_open, alarm_list_past
from portal.operations.errors import InputInvalid
from portal.operations.models import Operation, State
from portal.runtime.errors import StackRuntimeError
from portal.stacks.selectors import ServiceRow
from portal.vaults.models import BackupSet, Drill, DrillState, Plan, Repository
from portal.watch.models import Event, EventKind
from tests.support import listeners, portal_web
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

STACK_KEY = "stack.unwell stack:rag"


@pytest.fixture
def used(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """A portal in use whose services all do well and whose last backup failed."""
    settings.VAR_DIR = tmp_path
    monkeypatch.setattr("portal.alarms.rules.stacks.stack_services", lambda _: [service("api", "healthy")])
    made = portal_web.rows(tmp_path)
    Channel.objects.all().delete()
    # An alarm of its own, which nothing here mends.
    Event.objects.filter(kind=EventKind.OUT_OF_MEMORY).delete()
    return made


@pytest.fixture
def hook() -> Iterator[listeners.Webhook]:
    with listeners.webhook() as heard:
        yield heard


def service(name: str, state: str) -> ServiceRow:
    return ServiceRow(name, name, state, "", None, None, None)


def keys() -> set[str]:
    return {condition.key for condition in conditions_now()}


def open_keys() -> set[str]:
    return set(Alarm.objects.filter(cleared_at=None).values_list("key", flat=True))


def mend(used: Rows) -> None:
    used.failed.delete()


def test_what_lasts_is_one_alarm_and_ends_when_it_is_mended(used: Rows) -> None:
    services.alarms_evaluate()
    services.alarms_evaluate()
    found = Alarm.objects.get(key="backup.failed stack:rag")
    assert found.title == "The last backup failed: The repository is locked."
    assert found.operation == used.failed
    mend(used)
    services.alarms_evaluate()
    found.refresh_from_db()
    assert found.cleared_at is not None
    assert "backup.failed stack:rag" not in open_keys()


def test_an_alarm_is_told_once_and_so_is_its_end(used: Rows, hook: listeners.Webhook) -> None:
    channels.channel_add(name="hook", url=f"json://127.0.0.1:{hook.port}/alarms")
    Repository.objects.update(replaced_by=used.good.repository)
    services.alarms_evaluate()
    assert channels.notices_send() == 1
    services.alarms_evaluate()
    assert channels.notices_send() == 0
    mend(used)
    services.alarms_evaluate()
    assert channels.notices_send() == 1
    assert ["The last backup failed: The repository is locked." in body for _, body in hook.calls] == [True, True]
    assert [": over: " in body for _, body in hook.calls] == [False, True]


def test_mail_arrives_with_the_remedy(used: Rows) -> None:
    with listeners.mail_server() as mail:
        address = f"mailto://127.0.0.1:{mail.port}?from=ragkeep@example.org&to=operator@example.org&mode=insecure"
        channels.channel_add(name="mail", url=address)
        services.alarms_evaluate()
        assert channels.notices_send() >= 1
        text = "\n".join(mail.mails)
    assert "operator@example.org" in text
    assert "manage.py doctor" in text


def test_a_channel_that_fails_is_tried_again_ever_later(used: Rows, hook: listeners.Webhook) -> None:
    Repository.objects.update(replaced_by=used.good.repository)
    hook.status = 500
    added = channels.channel_add(name="hook", url=f"json://127.0.0.1:{hook.port}/alarms")
    services.alarms_evaluate()
    now = timezone.now()
    assert channels.notices_send(now=now) == 0
    assert channels.notices_send(now=now + timedelta(seconds=5)) == 0
    assert len(hook.calls) == 1
    added.refresh_from_db()
    assert added.last_error
    hook.status = 200
    assert channels.notices_send(now=now + timedelta(seconds=20)) == 1
    added.refresh_from_db()
    assert added.last_error == ""
    assert Notice.objects.get(channel=added).attempts == 2


def test_what_could_not_be_told_for_a_day_is_not_told_any_more(used: Rows, hook: listeners.Webhook) -> None:
    Repository.objects.update(replaced_by=used.good.repository)
    added = channels.channel_add(name="hook", url=f"json://127.0.0.1:{hook.port}/alarms")
    services.alarms_evaluate()
    now = timezone.now()
    assert channels.notices_send(now=now + timedelta(hours=25)) == 0
    assert hook.calls == []
    Path(added.url_file).unlink()
    assert channels.notices_send(now=now + timedelta(hours=23)) == 0
    added.refresh_from_db()
    assert added.last_error.endswith("Remove the channel and add it again.")


def test_a_channel_for_what_is_bad_hears_no_warning(used: Rows, hook: listeners.Webhook) -> None:
    channels.channel_add(name="hook", url=f"json://127.0.0.1:{hook.port}/alarms", least="bad")
    services.alarms_evaluate()
    channels.notices_send()
    assert "repository.one_disk" in open_keys()
    assert not any("same disk" in body for _, body in hook.calls)
    assert any("last backup failed" in body for _, body in hook.calls)


def test_what_mends_itself_within_its_grace_was_never_an_alarm(used: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Condition("stack.unwell stack:rag", Severity.BAD, "It is not well", grace=timedelta(minutes=2))]
    monkeypatch.setattr(services, "conditions_now", lambda _moment: found)
    now = timezone.now()
    services.alarms_evaluate(now=now - timedelta(minutes=1))
    assert alarm_list_open() == []
    mended = [found.pop()]
    services.alarms_evaluate(now=now)
    assert not Alarm.objects.exists()
    found += mended
    services.alarms_evaluate(now=now - timedelta(minutes=3))
    assert [alarm.title for alarm in alarm_list_open()] == ["It is not well"]
    found.clear()
    services.alarms_evaluate(now=now)
    assert [alarm.title for alarm in alarm_list_past()] == ["It is not well"]


def test_what_is_over_before_it_was_told_is_not_told(used: Rows, hook: listeners.Webhook) -> None:
    Repository.objects.update(replaced_by=used.good.repository)
    channels.channel_add(name="hook", url=f"json://127.0.0.1:{hook.port}/alarms")
    services.alarms_evaluate()
    mend(used)
    services.alarms_evaluate()
    assert channels.notices_send() == 0
    assert hook.calls == []


def test_a_service_may_restart_without_waking_anybody(
    used: Rows, hook: listeners.Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.alarms.rules.stacks.stack_services", lambda _: [service("api", "failed")])
    channels.channel_add(name="hook", url=f"json://127.0.0.1:{hook.port}/alarms")
    now = timezone.now()
    services.alarms_evaluate(now=now)
    assert STACK_KEY in open_keys()
    assert not Notice.objects.filter(alarm__key=STACK_KEY).exists()
    services.alarms_evaluate(now=now + timedelta(minutes=3))
    assert Notice.objects.filter(alarm__key=STACK_KEY).exists()


def test_a_runtime_that_does_not_answer_is_an_alarm(used: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_: object) -> list[ServiceRow]:
        raise StackRuntimeError("The supervisor does not answer.", "Run `python3 manage.py up`.")

    monkeypatch.setattr("portal.alarms.rules.stacks.stack_services", silent)
    assert STACK_KEY in keys()


def test_the_address_of_a_channel_is_a_secret(used: Rows) -> None:
    url = "json://someone:a-long-password@127.0.0.1:9/token-of-the-channel"
    added = channels.channel_add(name="hook", url=url)
    assert Path(added.url_file).stat().st_mode & 0o777 == 0o600
    assert "a-long-password" not in channels.masked_address(added)
    error = channels.channel_test(channel=added)
    assert error
    assert "a-long-password" not in error
    assert "token-of-the-channel" not in error


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "two words", "url": "json://x"}, "name"),
        ({"name": "x", "url": "nonsense"}, "url"),
        ({"name": "x", "url": ""}, "url"),
        ({"name": "x", "url": "json://x", "least": "loud"}, "least"),
    ],
)
def test_a_channel_that_makes_no_sense_is_refused(used: Rows, fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        channels.channel_add(**fields)
    assert set(refused.value.fields) == {wrong}
    assert not Channel.objects.exists()


def test_a_name_can_be_used_again_after_a_channel_was_removed(used: Rows) -> None:
    channels.channel_remove(channel=channels.channel_add(name="hook", url="json://127.0.0.1:9/one"))
    again = channels.channel_add(name="hook", url="json://127.0.0.1:9/two")
    assert "two" in Path(again.url_file).read_text()
    with pytest.raises(InputInvalid, match="already"):
        channels.channel_add(name="hook", url="json://127.0.0.1:9/three")


def test_late_and_switched_off_plans(used: Rows) -> None:
    now = timezone.now()
    Plan.objects.update(next_run_at=now - timedelta(hours=1))
    assert "plan.overdue plan:nightly" in keys()
    Plan.objects.update(paused_until=now + timedelta(hours=1))
    assert "plan.overdue plan:nightly" not in keys()
    Plan.objects.update(paused_until=None, enabled=False)
    assert "plan.off plan:nightly" in keys()


def test_a_set_that_looks_wrong_is_told_with_its_reason(used: Rows) -> None:
    assert "set.suspicious stack:rag" not in keys()
    found = [{"code": "shrunk", "source": "documents", "message": "documents shrank from 900 to 3."}]
    BackupSet.objects.filter(pk=used.good.pk).update(anomalies=found)
    titles = {condition.key: condition.title for condition in conditions_now()}
    assert titles["set.suspicious stack:rag"].endswith("documents shrank from 900 to 3.")


def test_drills_that_fail_or_never_come(used: Rows) -> None:
    assert not {key for key in keys() if key.startswith("drill.")}
    BackupSet.objects.update(proven_at=timezone.now() - timedelta(days=9))
    assert "drill.old stack:rag" in keys()
    drill = portal_web.operation("drill")
    Drill.objects.create(set=used.good, operation=drill, state=DrillState.FAILED, seconds=12)
    assert "drill.failed stack:rag" in keys()


def test_a_damaged_repository_names_the_sets_it_touches(used: Rows) -> None:
    error = {"message": "a pack is damaged.", "remedy": "Repair it.", "sets": [used.good.pk]}
    Repository.objects.update(check_error=error)
    titles = {condition.key: condition.title for condition in conditions_now()}
    assert used.good.pk in titles["repository.damaged repository:default"]


def test_a_set_that_could_not_be_read_back_is_told_unless_its_repository_is(used: Rows) -> None:
    key = f"set.damaged set:{used.good.pk}"
    assert key not in keys()
    BackupSet.objects.filter(pk=used.good.pk).update(verify_error={"message": "3 files differ."})
    assert key in keys()
    Repository.objects.update(check_error={"message": "a pack is damaged.", "sets": [used.good.pk]})
    assert key not in keys()


def test_a_repository_that_fills_up_is_told_before_it_is_full(used: Rows) -> None:
    Repository.objects.update(capacity_bytes=1000, stats={"total_size": 890})
    assert "repository.full repository:default" not in keys()
    Repository.objects.update(stats={"total_size": 950})
    (found,) = [condition for condition in conditions_now() if condition.key.startswith("repository.full")]
    assert found.severity == "warning"
    Repository.objects.update(stats={"total_size": 990})
    (found,) = [condition for condition in conditions_now() if condition.key.startswith("repository.full")]
    assert found.severity == "bad"


def test_a_switch_hears_of_start_success_and_failure_once_each(
    used: Rows, hook: listeners.Webhook, tmp_path: Path
) -> None:
    write_secret(tmp_path / "ping", f"http://127.0.0.1:{hook.port}/ping/some-id?token=x")
    Plan.objects.update(ping_url_file=str(tmp_path / "ping"))
    Operation.objects.all().update(params={})
    running = portal_web.operation(state=State.RUNNING, params={"plan": "nightly"})
    assert deadman.pings_send() == 1
    assert deadman.pings_send() == 0
    Operation.objects.filter(pk=running.pk).update(state=State.SUCCEEDED, finished_at=timezone.now())
    failed = portal_web.operation(state=State.FAILED, params={"plan": "nightly"}, error={"message": "No room."})
    assert deadman.pings_send() == 3
    paths = ["/ping/some-id/start?token=x", "/ping/some-id?token=x", "/ping/some-id/start?token=x"]
    assert hook.paths == [*paths, "/ping/some-id/fail?token=x"]
    assert str(failed.pk) in hook.calls[-1][1]
    assert "No room." in hook.calls[-1][1]


def test_a_switch_that_does_not_answer_is_called_again_later(
    used: Rows, hook: listeners.Webhook, tmp_path: Path
) -> None:
    write_secret(tmp_path / "ping", f"http://127.0.0.1:{hook.port}/ping")
    Plan.objects.update(ping_url_file=str(tmp_path / "ping"))
    hook.status = 503
    run = portal_web.operation(state=State.RUNNING, params={"plan": "nightly"})
    assert run.started_at is not None
    assert deadman.pings_send(now=run.started_at + timedelta(seconds=1)) == 0
    assert deadman.pings_send(now=run.started_at + timedelta(seconds=2)) == 0
    assert len(hook.calls) == 1
    hook.status = 200
    assert deadman.pings_send(now=run.started_at + timedelta(seconds=11)) == 1
