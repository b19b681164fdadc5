"""Backup sets: the list, one of them, and everything that is done with them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from portal.operations.models import Operation
from portal.vaults.models import BackupSet, Restore
from tests.support.portal_web import Rows, text_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


def many(used: Rows, count: int) -> None:
    BackupSet.objects.bulk_create(
        BackupSet(
            id=f"20250101T000000Z-{number:06x}",
            stack="rag",
            repository=used.good.repository,
            state="complete",
            taken_at=timezone.now() - timedelta(days=number + 2),
        )
        for number in range(count)
    )


def test_the_list_is_paged_and_costs_the_same_however_many_there_are(
    seen: dict[str, Client], used: Rows, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    many(used, 60)
    with django_assert_max_num_queries(14):
        first = text_of(seen["operator"], "/sets/")
    assert "1 to 25 of 62" in first
    assert f"/sets/{used.good.pk}/restore/" in first
    assert f"/sets/{used.partial.pk}/restore/" not in first
    assert "51 to 62 of 62" in text_of(seen["operator"], "/sets/?page=3")
    assert "51 to 62 of 62" in text_of(seen["operator"], "/sets/?page=99999")
    assert "1 to 25 of 62" in text_of(seen["operator"], "/sets/?page=%27;drop")


def test_an_empty_list_says_what_to_do(seen: dict[str, Client]) -> None:
    Restore.objects.all().delete()
    BackupSet.objects.all().delete()
    assert "No set yet" in text_of(seen["reader"], "/sets/")


def test_a_set_shows_what_it_holds_and_whether_it_is_proven(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["reader"], f"/sets/{used.good.pk}/")
    for fact in ("165 MiB", "52 ms", "41 s", "1,398", "9,874", "9f3c2a77be1d", "9.5 MiB", "Proven"):
        assert fact in text
    assert "never the last good set" in text_of(seen["reader"], f"/sets/{used.partial.pk}/")


def test_a_set_that_is_gone_is_a_page_with_a_way_out(seen: dict[str, Client]) -> None:
    answer = seen["reader"].get("/sets/20250101T000000Z-abcdef/")
    assert answer.status_code == 404
    assert 'href="/sets/"' in answer.content.decode()


def test_backing_up_starts_the_plans_backup(seen: dict[str, Client], used: Rows) -> None:
    answer = seen["operator"].post("/sets/back-up/")
    made = Operation.objects.filter(kind="backup", state="queued").get()
    assert answer.headers["Location"] == f"/operations/{made.pk}/"
    assert made.target == "stack:rag"


def test_a_drill_is_of_the_set_named_else_of_the_last_good_one(seen: dict[str, Client], used: Rows) -> None:
    seen["operator"].post("/sets/drill/")
    assert Operation.objects.get(kind="drill", state="queued").params == {"set": used.good.pk}
    assert seen["operator"].post("/sets/drill/", {"set": "20250101T000000Z-abcdef"}).status_code == 404
