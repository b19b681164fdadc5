"""The list of sets: what it can be narrowed to, its calendar, its history, and what an operator does with a set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from portal.core.models import AuditEntry
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation, State
from portal.vaults.models import BackupSet, Repository, Restore, SetCopy, SetState
from portal.vaults.selectors import set_last_good, set_last_proven
from portal.vaults.setlist import SetFilter, set_timeline, sets_filtered
from portal.vaults.sets import set_delete, set_note, set_pin, set_tag
from tests.support import portal_web
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


@pytest.fixture(autouse=True)
def berlin(settings: Settings) -> None:
    settings.LOCAL_TIME_ZONE = "Europe/Berlin"


@pytest.fixture
def spare(used: Rows) -> BackupSet:
    """A complete set that nothing depends on."""
    return portal_web.backup_set(used.good.repository, timezone.now() - timedelta(days=3))


def listed(client: Client, query: str) -> set[str]:
    answer = client.get(f"/sets/?{query}")
    assert answer.status_code == 200
    return {found.pk for found in answer.context["page"]}


def test_the_list_is_narrowed_by_what_a_set_carries(seen: dict[str, Client], used: Rows, spare: BackupSet) -> None:
    other = Repository.objects.create(name="far", url="/far", password_file="x")
    BackupSet.objects.filter(pk=spare.pk).update(
        repository=other, plan=used.plan, stack="lab", tags=["month-end"], note="before the 100% upgrade", pinned=True
    )
    only, reader = {spare.pk}, seen["reader"]
    for query in ("stack=lab", "repository=far", "plan=nightly", "tag=month-end", "pinned=on"):
        assert listed(reader, query) == only, query
    for query in ("q=100%25+UPGRADE", f"q={spare.pk[-6:]}", "q=100%25&state=complete&stack=lab"):
        assert listed(reader, query) == only, query
    assert listed(reader, "state=partial") == {used.partial.pk}
    assert listed(reader, "q=100%25x") == set()
    assert "No set matches" in reader.get("/sets/?q=nothing+has+this").content.decode()


def test_a_filter_that_makes_no_sense_says_so_and_narrows_nothing(seen: dict[str, Client], used: Rows) -> None:
    answer = seen["reader"].get("/sets/?day=yesterday&state=%27;drop")
    assert {found.pk for found in answer.context["page"]} == {used.good.pk, used.partial.pk}
    assert answer.content.decode().count("field__error") >= 2


def test_the_next_page_keeps_the_filter(seen: dict[str, Client], used: Rows) -> None:
    row = {"stack": "rag", "repository": used.good.repository, "state": "partial"}
    now = timezone.now()
    BackupSet.objects.bulk_create(
        BackupSet(id=f"20240101T000000Z-{number:06x}", taken_at=now - timedelta(days=300 + number), **row)
        for number in range(30)
    )
    text = seen["reader"].get("/sets/?state=partial").content.decode()
    assert 'href="?state=partial&amp;page=2"' in text
    assert "26 to 31 of 31" in seen["reader"].get("/sets/?state=partial&page=2").content.decode()


def test_sets_that_were_removed_are_history_only(seen: dict[str, Client], used: Rows, spare: BackupSet) -> None:
    BackupSet.objects.filter(pk=used.good.pk).update(removed_at=timezone.now())
    assert listed(seen["reader"], "") == {used.partial.pk, spare.pk}
    assert listed(seen["reader"], "removed=on") == {used.good.pk}
    assert set_last_good() == spare
    assert set_last_proven() is None
    page = seen["operator"].get(f"/sets/{used.good.pk}/").content.decode()
    assert "is history" in page
    assert "/restore/" not in page


def test_a_day_shows_the_best_it_left_and_that_something_went_wrong() -> None:
    for model in (Restore, BackupSet, Operation):
        model.objects.all().delete()
    repository = Repository.objects.get()
    # Half past midnight in Berlin is still the day before in UTC.
    now = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)
    for ago, state in ((1, SetState.COMPLETE), (1, SetState.PARTIAL), (2, SetState.PARTIAL), (5, SetState.COMPLETE)):
        portal_web.backup_set(repository, now - timedelta(days=ago), state)
    BackupSet.objects.filter(taken_at__lt=now - timedelta(days=4)).update(removed_at=now)
    failed = portal_web.operation(state=State.FAILED)
    Operation.objects.filter(pk=failed.pk).update(created_at=now - timedelta(days=3))
    timeline = set_timeline(now=now, weeks=2)
    days = {day.date.isoformat(): day for week in timeline.weeks for day in week if day}
    assert {at: day.state for at, day in days.items() if day.state != "none"} == {
        "2026-03-04": "complete", "2026-03-03": "partial", "2026-03-02": "failed", "2026-02-28": "removed",
    }  # fmt: skip
    assert days["2026-03-04"].trouble
    assert days["2026-03-04"].text == "1 complete, 1 partial"
    assert days["2026-03-05"].text == "no backup"
    assert [len(week) for week in timeline.weeks] == [7, 7]
    assert timeline.weeks[-1][4] is None, "tomorrow"
    assert timeline.covered == (1, 6)


def test_a_day_of_the_calendar_leads_to_its_sets(seen: dict[str, Client], used: Rows, spare: BackupSet) -> None:
    day = f"{spare.taken_at.astimezone(ZoneInfo('Europe/Berlin')):%Y-%m-%d}"
    assert f'href="?day={day}"' in seen["reader"].get("/sets/").content.decode()
    assert listed(seen["reader"], f"day={day}") == {spare.pk}


def test_a_page_of_the_list_is_read_along_its_index(used: Rows) -> None:
    now = timezone.now()
    BackupSet.objects.bulk_create(
        BackupSet(
            id=f"20200101T000000Z-{number:06x}",
            stack="rag",
            repository=used.good.repository,
            state="complete",
            taken_at=now - timedelta(hours=number),
        )
        for number in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE vaults_backupset")
    assert "set_newest" in sets_filtered(SetFilter())[:25].explain()


def test_pinning_labelling_and_their_audit(seen: dict[str, Client], spare: BackupSet) -> None:
    address = f"/sets/{spare.pk}/"
    seen["operator"].post(f"{address}pin/", {"pinned": "yes"})
    seen["operator"].post(f"{address}label/", {"tags": " Month-End, keep ,keep", "note": "before\nthe upgrade"})
    spare.refresh_from_db()
    assert (spare.pinned, spare.tags, spare.note) == (True, ["keep", "month-end"], "before\nthe upgrade")
    seen["operator"].post(f"{address}label/", {"tags": "keep", "note": "before\nthe upgrade"})
    seen["operator"].post(f"{address}pin/", {"pinned": "no"})
    spare.refresh_from_db()
    assert (spare.pinned, spare.tags) == (False, ["keep"])
    told = AuditEntry.objects.filter(target=f"set:{spare.pk}").order_by("pk").values_list("action", "actor_name")
    who = portal_web.OPERATOR
    actions = ["set.pinned", "set.noted", "set.tagged", "set.tagged", "set.unpinned"]
    assert list(told) == [(action, who) for action in actions]


def test_a_tag_that_is_none_is_refused_and_what_was_typed_stays(seen: dict[str, Client], spare: BackupSet) -> None:
    form = {"tags": "fine, <b>bold</b>", "note": "typed with care"}
    answer = seen["operator"].post(f"/sets/{spare.pk}/label/", form)
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "is no tag" in text
    assert "typed with care" in text
    assert "&lt;b&gt;bold" in text
    spare.refresh_from_db()
    assert (spare.tags, spare.note) == ([], "")


def test_services_refuse_what_does_not_fit(spare: BackupSet) -> None:
    with pytest.raises(OperationRefused, match="2,001 characters"):
        set_note(found=spare, note="x" * 2001)
    with pytest.raises(OperationRefused, match="at most 20 tags"):
        set_tag(found=spare, add=[f"t{number}" for number in range(21)])
    assert set_pin(found=spare, pinned=False) is False, "nothing changed"
    BackupSet.objects.filter(pk=spare.pk).update(removed_at=timezone.now())
    spare.refresh_from_db()
    with pytest.raises(OperationRefused, match="no longer in its repository"):
        set_pin(found=spare, pinned=True)


def test_a_deletion_wants_the_id_and_refuses_what_must_stay(
    seen: dict[str, Client], used: Rows, spare: BackupSet
) -> None:
    address = f"/sets/{spare.pk}/delete/"
    for name in ("", spare.pk[:-1]):
        assert seen["operator"].post(address, {"name": name}).status_code == 422
    set_pin(found=spare, pinned=True)
    assert "is pinned" in seen["operator"].post(address, {"name": spare.pk}, follow=True).content.decode()
    with pytest.raises(OperationRefused, match="last one that was shown to come back"):
        set_delete(found=used.good)
    Restore.objects.update(safety_set=used.partial)
    with pytest.raises(OperationRefused, match="can still be undone"):
        set_delete(found=used.partial)
    assert not Operation.objects.filter(kind="repository.forget").exists()


def test_the_page_of_a_set_shows_what_was_recorded(seen: dict[str, Client], spare: BackupSet) -> None:
    other = Repository.objects.create(name="far", url="/far", password_file="x")
    SetCopy.objects.create(set=spare, repository=other, snapshot_id="1" * 64)
    spare.sources["postgres"] |= {"tables": {"public.a": 3, "public.b": 4}, "seconds": 2.5, "errors": ["b.txt"]}
    spare.detail = {
        "versions": {"postgres": "18.0", "restic": "0.18.0", "extensions": {"vector": "0.8"}},
        "models": [{"name": "smollm2:135m", "digest": "sha256:1"}],
        "collections": [{"name": "kb_1", "dimension": 384, "model": "minilm", "vectors": 9874, "chunks": 9874}],
        "questions": 24, "steps": {"freeze": 0.05, "commit": 3.0}, "missing": ["document a"], "missing_count": 7,
    }  # fmt: skip
    spare.anomalies = [{"code": "shrunk", "source": "vectors", "message": "It shrank by <half>."}]
    spare.verify_error = {"message": "3 files differ.", "remedy": "Restore another set."}
    spare.save()
    text = seen["reader"].get(f"/sets/{spare.pk}/").content.decode()
    for fact in (
        "far", "18.0", "vector 0.8", "smollm2:135m", "9,874 vectors of 384", "24 questions", "7 missing", "document a",
        "shrank by &lt;half&gt;", "3 files differ.", "7 rows in 2 tables", "b.txt", "2.5 s",
    ):  # fmt: skip
        assert fact in text, fact
    assert "damaged" in seen["reader"].get("/sets/").content.decode()
