"""What verbs show and ask before they change anything."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from config.cli.confirming import demand_typed
from config.cli.output import Output, UserError
from config.cli.plan import plan_lines
from config.cli.rollout import agreed


def report(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - values of JSON
    row = {"service": "api", "action": "recreate", "reason": "its image changed"}
    empty: dict[str, Any] = {"settings": {}, "files": {}, "touches": [], "problems": [], "backup": False}
    return {**empty, "release": 4, "nothing": False, "changes": [row], **changes}


def asked(typed: str | None, *, pull: bool = False, **changes: object) -> Result:
    """Somebody is asked and types this; the result's return value says whether they agreed."""

    @click.command
    def verb() -> bool:
        return agreed(Output(as_json=True), report(**changes), pull=pull)

    return CliRunner().invoke(verb, input=typed, standalone_mode=False)


def test_somebody_sees_the_plan_before_they_agree() -> None:
    done = asked("y\n")
    assert done.return_value is True
    assert done.stderr.index("api  recreate  its image changed") < done.stderr.index("Deploy this?")
    assert done.stdout == ""


@pytest.mark.parametrize("typed", ["n\n", ""])
def test_without_a_yes_nothing_happens(typed: str) -> None:
    done = asked(typed)
    assert isinstance(done.exception, UserError)
    assert done.exception.code == "unconfirmed"


def test_where_nothing_is_to_do_one_object_says_so_and_nobody_is_asked() -> None:
    done = asked("", nothing=True)
    assert done.return_value is False
    assert json.loads(done.stdout) == {"release": 4, "changes": {}, "set_id": None, "operation": None}


def test_what_runs_without_a_release_is_recorded_as_the_first() -> None:
    assert asked("", nothing=True, release=None).return_value is True
    assert "first release" in plan_lines(report(nothing=True, release=None))[0]


def test_what_is_in_the_way_is_said_instead_of_asking() -> None:
    found = asked("y\n", problems=[{"message": "port 80 is taken", "remedy": "stop apache"}]).exception
    assert isinstance(found, UserError)
    assert (found.message, found.remedy, found.code) == ("port 80 is taken", "stop apache", "not_ready")


def test_with_images_fetched_anew_nobody_knows_that_nothing_is_to_do() -> None:
    done = asked("y\n", nothing=True, pull=True)
    assert done.return_value is True
    assert done.stderr.index("fetched anew") < done.stderr.index("Deploy this?")


@pytest.mark.parametrize(
    ("typed", "message", "remedy"),
    [
        (" nightly \n", "", ""),
        ("nightl\n", "that is not nightly; nothing was changed", "type nightly when asked, or add --yes"),
        ("", "nobody confirmed it", "add --yes to go on without a question"),
    ],
)
def test_the_name_of_what_will_be_lost_has_to_be_typed(typed: str, message: str, remedy: str) -> None:
    @click.command
    def verb() -> None:
        demand_typed(Output(), "nightly", "Type nightly to remove the plan")

    refused = CliRunner().invoke(verb, input=typed, standalone_mode=False).exception
    told = (refused.message, refused.remedy) if isinstance(refused, UserError) else (str(refused or ""), "")
    assert told == (message, remedy)
