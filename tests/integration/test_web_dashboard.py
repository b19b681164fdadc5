"""The first page: the answers an operator wants at a glance."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from portal.core import places
from portal.operations.models import Operation, State
from portal.stacks.models import Stack
from portal.vaults.models import BackupSet, Drill, DrillState, Plan, Restore
from portal.web.overview import overview_get
from tests.support import portal_web
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("control_plane")]


def page(client: Client) -> str:
    answer = client.get("/")
    assert answer.status_code == 200
    return answer.content.decode()


def titles() -> list[str]:
    return [warning.title for warning in overview_get().warnings]


def test_an_empty_portal_says_what_to_do_first(seen: dict[str, Client]) -> None:
    text = page(seen["operator"])
    assert "Nothing was set up yet" in text
    assert "python3 manage.py up" in text
    assert "Back up now</button>" not in text


def test_the_first_page_names_the_last_good_set_the_proof_and_the_next_run(seen: dict[str, Client], used: Rows) -> None:
    text = page(seen["operator"])
    assert f'/sets/{used.good.pk}/">165 MiB</a>, writes held for 52 ms' in text
    assert "took 1 min 34 s" in text
    assert used.plan.cron in text
    assert "Can be undone" not in text
    assert "Keep the restore" in text
    assert "stopped the stack for 8.3 s" in text


def test_a_partial_set_is_never_the_last_good_one(used: Rows) -> None:
    BackupSet.objects.filter(pk=used.partial.pk).update(taken_at=timezone.now())
    assert overview_get().last_good == used.good


def test_a_reader_gets_no_buttons(seen: dict[str, Client], used: Rows) -> None:
    text = page(seen["reader"])
    for button in ("Back up now</button>", "Keep the restore", "Undo it", "Prove it (drill)"):
        assert button not in text


def test_htmx_gets_only_the_panel(seen: dict[str, Client], used: Rows) -> None:
    answer = seen["operator"].get("/", headers={"HX-Request": "true"})
    assert "<html" not in answer.content.decode()
    assert "Last proven restore" in answer.content.decode()
    assert "HX-Request" in answer.headers["Vary"]


def test_a_failed_backup_is_a_warning_with_its_remedy_until_one_succeeds(used: Rows) -> None:
    warning = overview_get().warnings[0]
    assert warning.title == "The last backup failed: The repository is locked."
    assert warning.remedy == "Run `python3 manage.py doctor`."
    assert warning.operation == used.failed
    portal_web.operation()
    assert not any("last backup" in title for title in titles())


def test_a_cancelled_backup_is_no_failure(used: Rows) -> None:
    portal_web.operation()
    portal_web.operation(state=State.CANCELLED)
    assert not any("last backup" in title for title in titles())


def test_an_overdue_run_is_a_warning_but_not_while_a_backup_runs(used: Rows) -> None:
    overdue = "A backup of the plan nightly is overdue"
    assert overdue not in titles()
    Plan.objects.update(next_run_at=timezone.now() - timedelta(hours=1))
    assert overdue in titles()
    portal_web.operation(state=State.RUNNING)
    assert overdue not in titles()


def test_a_failed_drill_is_a_warning(used: Rows) -> None:
    drill = portal_web.operation("drill")
    Drill.objects.create(set=used.good, operation=drill, state=DrillState.FAILED, seconds=12)
    assert any(used.good.pk in title and "drill failed" in title for title in titles())


def test_the_repository_on_the_disk_of_the_data_is_a_warning(used: Rows) -> None:
    assert any("same disk" in title for title in titles())


def test_a_running_operation_shows_its_progress(seen: dict[str, Client], used: Rows) -> None:
    progress = {"stage": "dump", "fraction": 0.43, "counts": {"files": 610}, "note": "Dumping"}
    running = portal_web.operation(state=State.RUNNING, progress=progress)
    text = page(seen["reader"])
    assert f"/operations/{running.pk}/" in text
    assert 'value="0.4300"' in text
    assert "43 %" in text
    assert "610 files" in text


def test_a_runtime_that_does_not_answer_leaves_the_rest_of_the_page(
    seen: dict[str, Client], used: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "stack.yaml"
    broken.write_text("services: 3")
    monkeypatch.setattr(type(places.runtime().paths), "stack_file", property(lambda _: broken))
    text = page(seen["operator"])
    assert "correct the stack file" in text
    assert "Last good set" in text


def test_a_kept_restore_goes_from_the_page_once_it_is_settled(seen: dict[str, Client], used: Rows) -> None:
    Restore.objects.update(state="confirmed")
    assert "Keep the restore" not in page(seen["operator"])


def test_what_an_operation_writes_is_escaped(seen: dict[str, Client], used: Rows) -> None:
    Operation.objects.filter(pk=used.failed.pk).update(error={"message": "<script>alert(1)</script> `x`"})
    text = page(seen["operator"])
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; <code>x</code>" in text


def test_the_stack_is_named(seen: dict[str, Client]) -> None:
    Stack.objects.create(name="rag", environment="staging")
    assert "<b>rag</b> in staging" in page(seen["reader"])
