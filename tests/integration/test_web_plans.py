"""The pages of plans: what everybody sees, and what administrators do there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from portal.core.models import AuditEntry
from portal.operations.models import Operation
from portal.vaults.models import BackupSet, Hook, Plan
from tests.support import portal_web
from tests.support.portal_web import Rows, text_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


def filled(**changes: object) -> dict[str, object]:
    """The form as a browser sends it."""
    return {
        "name": "weekly",
        "stack": "rag",
        "repository": "default",
        "sources": ["documents", "postgres"],
        "cron": "15 3 * * SUN",
        "time_zone": "Europe/Berlin",
        "jitter_seconds": "600",
        "keep_daily": "7",
        "keep_within": "30d",
        "shrink_percent": "25",
        "drill": "on",
        "nice": "10",
        "hook_rows": "2",
        "hook_on_0": "before",
        "hook_command_0": "/usr/bin/logger 'a backup'",
        "hook_seconds_0": "20",
        "hook_on_1": "before",
        "hook_command_1": "",
        "action": "save",
        **changes,
    }


def posted(client: Client, address: str, **changes: object) -> str:
    answer = client.post(address, filled(**changes))
    assert answer.status_code in (200, 422), answer.headers.get("Location")
    return answer.content.decode()


@pytest.mark.parametrize(
    ("address", "verb", "statuses"),
    [
        ("/plans/", "get", (302, 200, 200)),
        ("/plans/nightly/", "get", (302, 200, 200)),
        ("/plans/add/", "get", (302, 403, 200)),
        ("/plans/nightly/change/", "get", (302, 403, 200)),
        ("/plans/nightly/act/", "post", (302, 403, 302)),
        ("/plans/nightly/remove/", "post", (302, 403, 302)),
        ("/plans/nightly/change/", "post", (302, 403, 422)),
        ("/plans/nobody/", "get", (302, 404, 404)),
    ],
)
def test_roles(seen: dict[str, Client], address: str, verb: str, statuses: tuple[int, ...]) -> None:
    found = [getattr(seen[role], verb)(address) for role in portal_web.ROLES]
    assert tuple(answer.status_code for answer in found) == statuses
    assert "/sign-in/" in found[0].headers["Location"]
    assert Plan.objects.count() == 1


def test_the_list_says_when_what_and_how_it_went(
    seen: dict[str, Client], used: Rows, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Plan.objects.update(keep={"daily": 7, "within": "1m"}, last_operation=used.failed)
    with django_assert_max_num_queries(6):
        text = text_of(seen["reader"], "/plans/")
    for fact in ("At 02:30 every day", "7 daily, all within 1 month", "Failed", "/plans/nightly/", "default"):
        assert fact in text
    assert "Add a plan" not in text
    assert "Add a plan" in text_of(seen["operator"], "/plans/")


def test_a_plan_is_added_with_everything_that_was_said(seen: dict[str, Client]) -> None:
    answer = seen["operator"].post("/plans/add/", filled(ping_url="https://switch.example.org/secret-1"))
    assert answer.headers["Location"] == "/plans/weekly/"
    plan = Plan.objects.get(name="weekly")
    assert plan.keep == {"daily": 7, "within": "30d"}
    assert (plan.sources, plan.limits, plan.jitter_seconds) == (["documents", "postgres"], {"nice": 10}, 600)
    assert [hook.command for hook in plan.hooks.all()] == [["/usr/bin/logger", "a backup"]]
    assert plan.next_run_at is not None
    assert Path(plan.ping_url_file).read_text().strip() == "https://switch.example.org/secret-1"
    assert AuditEntry.objects.filter(action="plan.created", target="plan:weekly").exists()
    assert "secret-1" not in str(AuditEntry.objects.get(target="plan:weekly").data)
    text = text_of(seen["operator"], "/plans/weekly/")
    assert "At 03:15 on Sunday" in text
    assert "logger" in text
    assert "logger" not in text_of(seen["reader"], "/plans/weekly/")
    assert "secret-1" not in text_of(seen["operator"], "/plans/weekly/change/")


def test_what_it_would_do_is_shown_and_not_done(seen: dict[str, Client], used: Rows) -> None:
    old = BackupSet.objects.create(
        id="20250101T000000Z-00000a",
        stack="rag",
        repository=used.good.repository,
        state="complete",
        taken_at=timezone.now() - timedelta(days=200),
    )
    text = posted(seen["operator"], "/plans/nightly/change/", action="preview", keep_daily="1", keep_within="")
    for fact in ("Not saved yet", "1 kept, 2 removed", f"/sets/{old.pk}/", "no rule keeps it", "last proven", "CET"):
        assert fact in text
    assert text.count("At 03:15 on Sunday") == 1
    plan = Plan.objects.get()
    assert (plan.cron, plan.keep, plan.hooks.count()) == ("30 2 * * *", {}, 0)


def test_everything_that_is_wrong_is_said_beside_its_field(seen: dict[str, Client]) -> None:
    wrong = {
        "cron": "hourly",
        "time_zone": "Mars/Olympus",
        "keep_within": "a month",
        "nice": "40",
        "hook_command_0": "logger x",
        "sources": [],
    }
    text = posted(seen["operator"], "/plans/add/", **wrong)
    assert "Choose at least one." in text
    text = posted(seen["operator"], "/plans/add/", **{**wrong, "sources": ["documents"]})
    for sentence in (
        "Nothing was saved",
        "Expected five values, minute hour day month weekday",
        "There is no time zone &#x27;Mars/Olympus&#x27;",
        "Expected a span like 30d, 1y6m or 36h, got &#x27;a month&#x27;.",
        "Expected a whole number from 0 to 19, got 40.",
        "Hook 1: name the program with its full path",
    ):
        assert sentence in text
    assert "never closed" in posted(seen["operator"], "/plans/add/", hook_command_0="/bin/echo 'x")
    assert "There is a plan &#x27;nightly&#x27; already" in posted(seen["operator"], "/plans/add/", name="nightly")
    assert "must start less late" in posted(seen["operator"], "/plans/add/", cron="*/5 * * * *", jitter_seconds="300")
    assert Plan.objects.count() == 1


def test_changing_keeps_what_was_not_touched(seen: dict[str, Client]) -> None:
    seen["operator"].post("/plans/nightly/change/", filled(ping_url="https://switch.example.org/1"))
    first = Path(Plan.objects.get().ping_url_file)
    seen["operator"].post("/plans/nightly/change/", filled(hook_command_0=""))
    plan = Plan.objects.get()
    assert Path(plan.ping_url_file) == first
    assert not Hook.objects.exists()
    assert plan.cron == "15 3 * * SUN"
    assert 'value="15 3 * * SUN"' in text_of(seen["operator"], "/plans/nightly/change/")


@pytest.mark.django_db(transaction=True)
def test_forgetting_the_switch_removes_its_file(seen: dict[str, Client]) -> None:
    seen["operator"].post("/plans/nightly/change/", filled(ping_url="https://switch.example.org/1"))
    first = Path(Plan.objects.get().ping_url_file)
    assert first.stat().st_mode & 0o777 == 0o600
    seen["operator"].post("/plans/nightly/change/", filled(ping_remove="on"))
    assert Plan.objects.get().ping_url_file == ""
    assert not first.exists()


def test_pausing_resuming_and_running(seen: dict[str, Client]) -> None:
    act = "/plans/nightly/act/"
    seen["operator"].post(act, {"action": "pause", "until": ""})
    assert not Plan.objects.get().enabled
    assert "starts nothing by itself" in text_of(seen["reader"], "/plans/nightly/")
    seen["operator"].post(act, {"action": "resume"})
    assert Plan.objects.get().enabled
    seen["operator"].post(act, {"action": "pause", "until": "2199-01-01T00:00"})
    assert "Paused" in text_of(seen["reader"], "/plans/")
    assert seen["operator"].post(act, {"action": "pause", "until": "2020-01-01T00:00"}).status_code == 422
    assert "Nothing was done" in seen["operator"].post(act, {"action": "rn"}, follow=True).content.decode()
    answer = seen["operator"].post(act, {"action": "run"})
    made = Operation.objects.get(kind="backup", state="queued")
    assert answer.headers["Location"] == f"/operations/{made.pk}/"
    assert made.params == {"repository": "default", "plan": "nightly"}
    assert Plan.objects.get().last_operation == made


def test_removing_asks_for_the_name_and_keeps_the_sets(seen: dict[str, Client], used: Rows) -> None:
    seen["operator"].post("/plans/nightly/remove/", {"name": "Nightly"})
    assert Plan.objects.exists()
    BackupSet.objects.update(plan=used.plan)
    answer = seen["operator"].post("/plans/nightly/remove/", {"name": "nightly"}, follow=True)
    assert "Its sets are still there" in answer.content.decode()
    assert not Plan.objects.exists()
    assert BackupSet.objects.filter(plan=None).count() == 2


def test_a_plan_whose_backup_runs_is_not_removed(seen: dict[str, Client]) -> None:
    seen["operator"].post("/plans/nightly/act/", {"action": "run"})
    answer = seen["operator"].post("/plans/nightly/remove/", {"name": "nightly"}, follow=True)
    assert "A backup of the plan nightly is queued" in answer.content.decode()
    assert Plan.objects.exists()
