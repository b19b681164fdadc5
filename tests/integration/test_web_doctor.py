"""The doctor's page: what it finds, and a remedy at a click."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from portal.core import places
from portal.core.models import AuditEntry
from portal.operations import worker
from portal.operations.models import Operation, State
from portal.stacks.models import Stack
from portal.watch.models import Event, EventKind
from portal.watch.selectors import happenings_lately
from tests.support import portal_web
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("used")]


def test_an_open_secret_is_found_and_closed_at_a_click(operator: Client, tmp_path: Path) -> None:
    secret = tmp_path / "stacks" / "rag" / "secrets" / "internal_token"
    secret.parent.mkdir(parents=True)
    secret.write_text("marker-4711")
    secret.chmod(0o644)
    text = operator.get("/doctor/").content.decode()
    assert f"others may read {secret}" in text
    assert "marker-4711" not in text
    assert text.index("To mend") < text.index("Well")
    operator.post("/doctor/fix/", {"fix": "secrets"})
    made = Operation.objects.get(kind="doctor.fix")
    worker.execute(made.pk)
    made.refresh_from_db()
    assert (made.state, made.result) == (State.SUCCEEDED, {"done": 1})
    assert secret.stat().st_mode & 0o777 == 0o600
    assert AuditEntry.objects.filter(action="doctor.fix.requested", actor_name=portal_web.OPERATOR).exists()
    assert "others may read" not in operator.get("/doctor/").content.decode()


def test_a_service_is_started_from_its_finding(operator: Client) -> None:
    Stack.objects.create(name="second")
    operator.post("/doctor/fix/", {"fix": "start:second/api"})
    made = Operation.objects.get(kind="stack.start")
    assert (made.target, made.params) == ("stack:second", {"service": "api"})


def test_a_stack_whose_file_is_broken_is_a_finding_among_the_others(
    operator: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "stack.yaml"
    broken.write_text("services: 3")
    monkeypatch.setattr(type(places.runtime().paths), "stack_file", property(lambda _: broken))
    text = operator.get("/doctor/").content.decode()
    assert "rag: services: expected" in text
    assert "free of" in text


@pytest.mark.parametrize(
    "fix", ["", "rm -rf", "leftovers;", "start:rag/mainframe", "start:mainframe/api", "start:rag/", "start:api"]
)
def test_nonsense_mends_nothing(operator: Client, fix: str) -> None:
    before = Operation.objects.count()
    assert operator.post("/doctor/fix/", {"fix": fix}).headers["Location"] == "/doctor/"
    assert Operation.objects.count() == before


def test_what_was_written_down_of_a_day_is_looked_at(used: Rows) -> None:
    Event.objects.all().delete()
    for hours, kind in ((1, EventKind.CRASHED), (2, EventKind.OUT_OF_MEMORY), (3, EventKind.STOPPED), (25, "crashed")):
        at = timezone.now() - timedelta(hours=hours)
        Event.objects.create(stack=used.stack, service="api", at=at, kind=kind, detail="how")
    found = happenings_lately()["rag"]
    assert [item.what for item in found] == ["out_of_memory", "ended"]
