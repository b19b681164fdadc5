"""The verbs around operations: one JSON object on standard output, exit status 0 only on success."""

from __future__ import annotations

import json
import uuid

import pytest
from click.testing import CliRunner, Result

from config.cli import backup, drill, restore, sets
from portal.operations.models import Operation
from portal.vaults.models import Restore, RestoreState
from tests.support import portal_scene
from tests.support.portal_scene import Scene

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("worker_thread"),
]

scene = portal_scene.scene


def call(module: object, *words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(module.command, list(words), input=typed)  # type: ignore[attr-defined]


def test_backup_prints_one_object(scene: Scene) -> None:
    done = call(backup, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["state"], told["freeze_ms"], told["bytes_total"], told["bytes_added"]) == ("complete", 12.5, 1000, 10)
    assert uuid.UUID(told["operation"])
    listed = json.loads(call(sets, "--json").stdout)["sets"]
    assert [found["set_id"] for found in listed] == [told["set_id"], scene.set.pk]


def test_failure_is_an_object_a_sentence_and_status_1(scene: Scene) -> None:
    (scene.folder / "backup.fail").touch()
    done = call(backup, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"] == {
        "code": "broken",
        "message": "The backup broke.",
        "remedy": "Mend it.",
    }
    assert "what to do: Mend it." in done.stderr


def test_restore_latest_then_undo(scene: Scene) -> None:
    told = json.loads(call(restore, "--set", "latest", "--yes", "--no-safety", "--json").stdout)
    assert (told["set_id"], told["state"], told["safety_set"]) == (scene.set.pk, "kept", None)
    assert told["canary"]["passed"]
    assert told["downtime_ms"] > 0
    undone = call(restore, "--undo", "--yes", "--json")
    assert undone.exit_code == 0, undone.output
    assert Restore.objects.get().state == RestoreState.UNDONE


def test_restore_asks_for_the_name_of_the_stack(scene: Scene) -> None:
    refused = call(restore, "--set", "latest", typed="yes\n")
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.stderr
    assert not Operation.objects.exists()
    assert scene.calls() == ["preflight"]
    assert call(restore, "--set", "latest", "--no-safety", typed="rag\n").exit_code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "exactly one of"),
        (["--undo", "--confirm"], "exactly one of"),
        (["--set", "20200101T000000Z-000000", "--yes"], "there is no backup set"),
        (["--confirm", "--yes"], "no restore can be undone or confirmed"),
    ],
)
def test_what_makes_no_sense_is_refused(scene: Scene, words: list[str], sentence: str) -> None:
    done = call(restore, *words)
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert not Operation.objects.exists()


def test_drill_reports_its_seconds(scene: Scene) -> None:
    told = json.loads(call(drill, "--json").stdout)
    assert (told["set_id"], told["state"]) == (scene.set.pk, "passed")
    assert told["seconds"] > 0
