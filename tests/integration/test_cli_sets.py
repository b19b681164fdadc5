"""`manage.py sets`: what it lists, labels and deletes, as people and programs see it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from django.utils import timezone

from config.cli import sets
from portal.operations.models import Operation
from portal.vaults.models import BackupSet
from tests.support import portal_web
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "connect", lambda: None)
    monkeypatch.setattr(sets, "run_started", lambda _output, start: start())


@pytest.fixture
def spare(used: Rows) -> BackupSet:
    return portal_web.backup_set(used.good.repository, timezone.now() - timedelta(days=3))


def run(*words: str, **options: Any) -> Result:  # noqa: ANN401 - passed on to click
    return CliRunner().invoke(sets.command, words, **options)


def told(*words: str) -> dict[str, Any]:
    """The one object on standard output."""
    answer = run(*words, "--json")
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_the_list_is_narrowed_and_counted(used: Rows, spare: BackupSet) -> None:
    ids = [row["set_id"] for row in told()["sets"]]
    assert ids == [used.good.pk, used.partial.pk, spare.pk]
    assert told("list", "--state", "partial")["sets"][0]["set_id"] == used.partial.pk
    day = f"{spare.taken_at:%Y-%m-%d}"
    assert [row["set_id"] for row in told("list", "--day", day)["sets"]] == [spare.pk]
    limited = told("list", "--limit", "1")
    assert (len(limited["sets"]), limited["count"]) == (1, 3)
    assert "no backup set matches" in run("list", "--tag", "nothing").output
    assert run("list", "--state", "fine").exit_code == 2


def test_labels_are_stored_and_shown(spare: BackupSet) -> None:
    assert told("tag", spare.pk, "Month-End", "keep")["tags"] == ["keep", "month-end"]
    assert told("tag", spare.pk, "--remove", "keep")["tags"] == ["month-end"]
    assert told("note", spare.pk, "before the upgrade")["note"] == "before the upgrade"
    assert told("pin", spare.pk)["pinned"] is True
    shown = run("show", spare.pk).output
    for part in ("before the upgrade", "month-end", "pinned: yes", "Documents: 12 files", "1,398 documents"):
        assert part in shown, shown
    assert "pinned month-end" in run("list").output
    assert told("unpin", spare.pk)["pinned"] is False
    wrong = run("tag", spare.pk, "no tag!", "--json")
    assert (wrong.exit_code, json.loads(wrong.stdout)["error"]["code"]) == (1, "tag_invalid")
    assert json.loads(run("show", "nope", "--json").stdout)["error"]["code"] == "no_set"


@pytest.mark.parametrize("answer", ["", "rag\n"])
def test_a_deletion_that_nobody_confirmed_does_nothing(spare: BackupSet, answer: str) -> None:
    asked = run("delete", spare.pk, input=answer)
    assert asked.exit_code == 1
    assert not Operation.objects.filter(kind="repository.forget").exists()


def test_a_deletion_forgets_that_set_alone(used: Rows, spare: BackupSet) -> None:
    run("pin", spare.pk)
    assert json.loads(run("delete", spare.pk, "--yes", "--json").stdout)["error"]["code"] == "set_pinned"
    run("unpin", spare.pk)
    assert run("delete", spare.pk, input=f"{spare.pk}\n").exit_code == 0
    made = Operation.objects.get(kind="repository.forget")
    assert (made.target, made.params["sets"]) == ("repository:default", [spare.pk])
    assert json.loads(run("delete", used.good.pk, "--yes", "--json").stdout)["error"]["code"] == "set_last_proven"


def test_a_verification_is_of_the_set_named(used: Rows) -> None:
    told("verify", "latest")
    made = Operation.objects.get(kind="set.verify")
    assert (made.target, made.params) == ("stack:rag", {"set": used.good.pk})
