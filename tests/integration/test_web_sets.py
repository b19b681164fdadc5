"""Backup sets: the list, one of them, and everything that is done with them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from portal.operations.models import Operation
from portal.vaults.models import BackupSet, Restore
from tests.support import portal_web, servers
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def used(settings: Settings, tmp_path: Path, valkey_server: servers.Valkey) -> Rows:
    settings.VAR_DIR = tmp_path
    settings.VALKEY_URL = valkey_server.url
    return portal_web.rows(tmp_path)


@pytest.fixture
def seen() -> dict[str, Client]:
    return portal_web.clients()


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


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


def test_a_restore_asks_for_the_name_of_the_stack(seen: dict[str, Client], used: Rows) -> None:
    address = f"/sets/{used.good.pk}/restore/"
    for name in ("", "RAG", "other"):
        answer = seen["operator"].post(address, {"safety": "yes", "name": name})
        assert answer.status_code == 422
        assert 'aria-invalid="true"' in answer.content.decode()
    assert not Operation.objects.filter(kind="restore", state="queued").exists()
    answer = seen["operator"].post(address, {"safety": "yes", "name": "rag"})
    made = Operation.objects.get(kind="restore", state="queued")
    assert made.params == {"set": used.good.pk, "safety": True}
    assert answer.headers["Location"] == f"/operations/{made.pk}/"


def test_a_restore_without_a_safety_set_is_a_choice(seen: dict[str, Client], used: Rows) -> None:
    seen["operator"].post(f"/sets/{used.good.pk}/restore/", {"safety": "no", "name": "rag"})
    assert Operation.objects.get(kind="restore", state="queued").params["safety"] is False


def test_a_restore_page_says_when_the_stack_cannot_be_compared(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["operator"], f"/sets/{used.good.pk}/restore/")
    assert "The stack does not answer" in text
    assert "1,398 documents" in text
    assert f'hx-get="/sets/{used.good.pk}/restore/preview/"' in text


def test_a_preview_that_cannot_be_made_says_why(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["operator"], f"/sets/{used.good.pk}/restore/preview/")
    assert 'role="alert"' in text


def test_a_partial_set_offers_no_restore(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["operator"], f"/sets/{used.partial.pk}/restore/")
    assert "cannot be restored as a whole" in text
    assert 'name="safety"' not in text
    answer = seen["operator"].post(f"/sets/{used.partial.pk}/restore/", {"safety": "yes", "name": "rag"})
    assert answer.headers["Location"] == f"/sets/{used.partial.pk}/restore/"
    assert not Operation.objects.filter(kind="restore", state="queued").exists()


@pytest.mark.parametrize(("verb", "kind"), [("undo", "restore.undo"), ("keep", "restore.confirm")])
def test_a_kept_restore_is_undone_or_kept(seen: dict[str, Client], used: Rows, verb: str, kind: str) -> None:
    answer = seen["operator"].post(f"/restores/{used.kept.pk}/{verb}/")
    made = Operation.objects.get(kind=kind)
    assert made.params == {"restore": str(used.kept.operation_id)}
    assert answer.headers["Location"] == f"/operations/{made.pk}/"


def test_a_settled_restore_cannot_be_undone(seen: dict[str, Client], used: Rows) -> None:
    Restore.objects.update(state="confirmed")
    answer = seen["operator"].post(f"/restores/{used.kept.pk}/undo/", follow=True)
    assert 'role="alert"' in answer.content.decode()
    assert not Operation.objects.filter(kind="restore.undo").exists()
