"""`manage.py plans`: the life of a plan from the command line, for people and for programs."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from click.testing import CliRunner, Result

from config.cli import plans
from portal.operations.models import Operation
from portal.vaults.models import Plan
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "connect", lambda: None)


def run(*words: str, **options: Any) -> Result:  # noqa: ANN401 - passed on to click
    return CliRunner().invoke(plans.command, words, **options)


def told(*words: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - passed on to click
    """The one object on standard output."""
    answer = run(*words, "--json", **options)
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def refused(*words: str) -> str:
    answer = run(*words, "--json")
    assert answer.exit_code == 1, answer.output
    message: str = json.loads(answer.stdout)["error"]["message"]
    return message


def test_a_plan_is_added_with_all_options_shown_and_changed() -> None:
    words = (
        "add weekly --cron '15 3 * * SUN' --time-zone Europe/Berlin --jitter 60 --source documents --source postgres "
        "--keep daily=7 --keep within=30d --shrink-percent 20 --check-cron '0 5 * * *' --no-drill --limit nice=10 "
        "--limit io_idle=true --hook before '/bin/echo \"two words\"' --hook-seconds 9 --ping-file -"
    )
    made = told(*shlex.split(words), input="https://switch.example.org/secret-7\n")
    assert made["keep"] == {"daily": 7, "within": "30d"}
    assert made["limits"] == {"nice": 10, "io_idle": True}
    assert made["hooks"] == [{"on": "before", "command": ["/bin/echo", "two words"], "timeout_seconds": 9}]
    assert (made["stack"], made["repository"], made["drill"], made["ping"]) == ("rag", "default", False, True)
    assert (made["when"], len(made["next_runs"])) == ("At 03:15 on Sunday", 5)
    assert made["next_check_at"] is not None
    assert "secret-7" not in json.dumps(told("show", "weekly"))
    changed = told("set", "weekly", "--keep", "none", "--limit", "none", "--no-hooks", "--no-ping", "--source", "all")
    assert (changed["keep"], changed["limits"], changed["hooks"], changed["sources"]) == ({}, {}, [], [])
    assert (changed["ping"], changed["cron"], changed["jitter_seconds"]) == (False, "15 3 * * SUN", 60)
    assert [found["name"] for found in told()["plans"]] == ["nightly", "weekly"]
    assert "At 03:15 on Sunday" in run("show", "weekly").output
    assert "keeps everything" in run("list").output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("add", "Weekly"), "name: Use small letters"),
        (("add", "add"), "There is a plan 'add' already"),
        (("add", "x", "--repository", "nowhere"), "repository: There is no repository 'nowhere'; known are: default."),
        (("set", "nightly", "--cron", "every night"), "cron: Expected five values"),
        (("set", "nightly", "--keep", "daily=often"), "keep.daily: Expected a whole number from 0 to 100000"),
        (("set", "nightly", "--keep", "daily"), "'daily' is no NAME=VALUE"),
        (("set", "nightly", "--limit", "nice=50"), "limits.nice: Expected a whole number from 0 to 19, got 50."),
        (("set", "nightly", "--source", "tea"), "sources: There is no source 'tea'; the stack has documents, vectors"),
        (("set", "nightly", "--hook", "before", "true"), "hooks: Hook 1: name the program with its full path"),
        (("set", "nightly", "--jitter", "90000"), "jitter_seconds: Expected a whole number from 0 to 86400"),
        (("pause", "nightly", "--until", "2020-01-01"), "until: The end of a pause must lie ahead"),
        (("pause", "nightly", "--until", "tomorrow"), "'tomorrow' is no time"),
        (("show", "nobody"), "there is no plan 'nobody'"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_changes(words: tuple[str, ...], sentence: str) -> None:
    before = Plan.objects.values().get()
    assert sentence in refused(*words)
    assert Plan.objects.values().get() == before


def test_pausing_is_on_the_plans_clock_and_resuming_ends_it() -> None:
    Plan.objects.update(time_zone="Asia/Tokyo")
    assert told("pause", "nightly", "--until", "2199-12-24T18:00")["until"] == "2199-12-24T18:00:00+09:00"
    plan = Plan.objects.get()
    assert plan.next_run_at is not None
    assert plan.paused_until is not None
    assert plan.next_run_at > plan.paused_until
    assert "paused" in run("list").output
    told("resume", "nightly")
    assert Plan.objects.get().paused_until is None
    told("pause", "nightly")
    assert not Plan.objects.get().enabled


def test_a_preview_names_every_set_and_changes_nothing(used: Rows) -> None:
    found = told("preview", "nightly", "--keep", "daily=1")
    assert (found["kept"], found["removed"]) == (1, 1)
    fates = {row["set_id"]: (row["kept"], row["reasons"]) for row in found["sets"]}
    assert fates[used.partial.pk] == (False, ["partial, a complete one is newer"])
    assert "last proven" in fates[used.good.pk][1]
    assert told("preview", "nightly")["removed"] == 0
    assert Plan.objects.get().keep == {}
    assert f"{used.partial.pk}  goes" in run("preview", "nightly", "--keep", "daily=1").output


def test_running_now_follows_the_backup(used: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"set_id": used.good.pk, "state": "partial", "bytes_total": 7 << 20, "hooks": []}

    def started(_output: object, start: Any) -> Operation:  # noqa: ANN401 - a function of no arguments
        operation: Operation = start()
        operation.result = result
        return operation

    monkeypatch.setattr(plans, "run_started", started)
    answer = run("run", "nightly", "--json")
    assert answer.exit_code == 3
    made = Operation.objects.get(state="queued")
    assert made.params == {"repository": "default", "plan": "nightly"}
    assert json.loads(answer.stdout)["operation"] == str(made.pk)


def test_removing_asks_for_the_name(used: Rows) -> None:
    assert run("remove", "nightly", input="nigtly\n").exit_code == 1
    assert Plan.objects.exists()
    assert run("remove", "nightly", input="nightly\n").exit_code == 0
    assert not Plan.objects.exists()
    assert used.good.repository.sets.count() == 2
