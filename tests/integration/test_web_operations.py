"""Operations: the list, one of them, cancelling, its log."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client

from portal.operations.models import State, Step
from tests.support import portal_web
from tests.support.portal_web import Rows, text_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


def test_the_list_names_what_was_done_and_how_it_ended(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["reader"], "/operations/")
    assert f'/operations/{used.failed.pk}/">Backup</a>' in text
    assert "The repository is locked." in text
    assert "Failed</span>" in text


def test_a_failed_operation_says_why_and_what_to_do(seen: dict[str, Client], used: Rows) -> None:
    text = text_of(seen["reader"], f"/operations/{used.failed.pk}/")
    assert "The repository is locked." in text
    assert "Run <code>python3 manage.py doctor</code>." in text
    assert "restic: 610 files &lt;b&gt;" in text
    assert "freeze 52 ms" in text
    assert "sse-connect" not in text


def test_a_running_operation_listens_to_its_own_events(seen: dict[str, Client]) -> None:
    running = portal_web.operation(state=State.RUNNING)
    text = text_of(seen["reader"], f"/operations/{running.pk}/")
    assert f'sse-connect="/events/?operation={running.pk}"' in text
    assert 'aria-live="polite"' in text
    assert "Cancel</button>" not in text
    assert "Cancel</button>" in text_of(seen["operator"], f"/operations/{running.pk}/")


def test_polling_ends_with_the_operation(seen: dict[str, Client], used: Rows) -> None:
    running, htmx = portal_web.operation(state=State.RUNNING), {"HX-Request": "true"}
    assert seen["reader"].get(f"/operations/{running.pk}/", headers=htmx).status_code == 200
    assert seen["reader"].get(f"/operations/{used.done.pk}/", headers=htmx).status_code == 286


def test_a_step_that_was_cut_off_is_not_shown_as_running(seen: dict[str, Client], used: Rows) -> None:
    Step.objects.filter(operation=used.failed).update(state="started", finished_at=None)
    assert "Interrupted" in text_of(seen["reader"], f"/operations/{used.failed.pk}/")


def test_a_part_of_an_operation_leads_to_the_whole(seen: dict[str, Client], used: Rows) -> None:
    child = portal_web.operation(parent=used.kept.operation)
    assert f"/operations/{child.pk}/" in text_of(seen["reader"], f"/operations/{used.kept.operation_id}/")
    assert f"/operations/{used.kept.operation_id}/" in text_of(seen["reader"], f"/operations/{child.pk}/")
    assert f"/operations/{child.pk}/" not in text_of(seen["reader"], "/operations/")


def test_cancelling_asks_the_worker_to_stop(seen: dict[str, Client]) -> None:
    running = portal_web.operation(state=State.RUNNING)
    answer = seen["operator"].post(f"/operations/{running.pk}/cancel/")
    assert answer.headers["Location"] == f"/operations/{running.pk}/"
    running.refresh_from_db()
    assert (running.state, running.cancel_requested) == (State.CANCELLING, True)


def test_cancelling_what_has_ended_is_answered_with_a_sentence(seen: dict[str, Client], used: Rows) -> None:
    answer = seen["operator"].post(f"/operations/{used.done.pk}/cancel/", follow=True)
    assert "has ended already" in answer.content.decode()


def test_the_log_is_downloaded_with_times(seen: dict[str, Client], used: Rows) -> None:
    answer = seen["reader"].get(f"/operations/{used.done.pk}/log/")
    assert answer.content.decode().endswith(" info    restic: 610 files <b>\n")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_an_unknown_operation_is_a_page_with_a_way_out(seen: dict[str, Client]) -> None:
    answer = seen["reader"].get(f"/operations/{uuid.uuid4()}/")
    assert answer.status_code == 404
    assert 'href="/operations/"' in answer.content.decode()


def test_a_drill_shows_what_was_compared(seen: dict[str, Client], used: Rows) -> None:
    drill = used.good.drills.get()
    text = text_of(seen["reader"], f"/operations/{drill.operation_id}/")
    assert "What was compared" in text
    assert text.count(">1,398</td>") == 2
    assert ">165</td>" in text
