"""What a deploy would do with each service of a Compose project, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portal.runtime.compose.comparison import Wanted, changed_parts, plan, renewed
from portal.runtime.compose.comparison import listed as in_words
from portal.runtime.compose.containers import Container
from portal.runtime.compose.record import Deployed, Kept
from portal.runtime.protocol import Action
from tests.support.containers import UP, kept


def want(name: str = "a", **changes: Any) -> Wanted:  # noqa: ANN401 - any field
    plain = Wanted(name, {"image": "i"}, "h", {}, "", "i", "sha256:i")
    return replace(plain, **changes)


def told(wanted: Wanted, found: list[Container], before: Kept | None) -> tuple[Action, str]:
    deployed = Deployed({wanted.name: before} if before else {})
    (change,) = plan({wanted.name: wanted}, {wanted.name: found} if found else {}, deployed).changes
    return change.action, change.reason


OTHER = {"image": "i", "environment": {"A": "1", "B": "2"}, "ports": []}
MORE = {"image": "i", "environment": {"A": "9", "C": "2"}, "cap_drop": ["ALL"]}


@pytest.mark.parametrize(
    ("wanted", "found", "before", "action", "reason"),
    [
        (want(), [UP], kept(), Action.KEEP, "runs as described"),
        (want(), [UP], None, Action.KEEP, "runs as described"),
        (want(), [], None, Action.CREATE, "has never run here"),
        (want(), [], kept(), Action.CREATE, "its container is gone"),
        (want(), [replace(UP, phase="exited")], kept(), Action.START, "is stopped"),
        (want(config={"scale": 2}), [UP], None, Action.START, "1 of 2 run"),
        (want(), [UP, UP], None, Action.SCALE, "it has 2 containers instead of 1"),
        (want(told_hash="n"), [UP], None, Action.RECREATE, "its configuration changed"),
        # Compose came to another hash of the same: a newer release of it, not a change.
        (want(told_hash="n"), [UP], kept(), Action.KEEP, "runs as described"),
        # It wrote another hash on the container than it tells: known from the deploy.
        (want(told_hash="t"), [UP], kept(told_hash="t"), Action.KEEP, "runs as described"),
        (
            want(),
            [replace(UP, config_hash="x")],
            kept(),
            Action.RECREATE,
            "somebody else changed it since it was deployed",
        ),
        (
            want(told_hash="n", config=MORE),
            [UP],
            kept(config=OTHER),
            Action.RECREATE,
            "its environment (A, B and C) and capabilities changed",
        ),
        (want(image_id="sha256:n"), [UP], kept(), Action.RECREATE, "there is another image i"),
        (want(image_id=""), [UP], kept(), Action.KEEP, "runs as described"),
        (
            want(digest="d", contents={"/conf": "1", "secret s": "2"}),
            [UP],
            kept(contents={"/conf": "0", "secret s": "2"}),
            Action.RECREATE,
            "what it mounts changed: /conf",
        ),
        (want(digest="d"), [UP], None, Action.RECREATE, "files it mounts changed"),
        (
            want(image_id="sha256:n"),
            [replace(UP, phase="exited")],
            kept(),
            Action.RECREATE,
            "there is another image i",
        ),
    ],
)
def test_what_becomes_of_a_service_and_why(
    wanted: Wanted, found: list[Container], before: Kept | None, action: Action, reason: str
) -> None:
    assert told(wanted, found, before) == (action, reason)


def test_what_somebody_wants_anew_is_replaced_although_nothing_changed() -> None:
    services, running = {"a": want(), "b": want("b")}, {"a": [UP], "b": [UP]}
    found = plan(services, running, Deployed(), anew=["b"])
    assert [(change.action, change.causes) for change in found.changes] == [
        (Action.KEEP, ()),
        (Action.RECREATE, ("asked",)),
    ]


def test_a_network_that_changed_is_made_anew_with_all_that_are_in_it() -> None:
    old: dict[str, dict[str, Any]] = {
        "front": {"name": "p_front", "ipam": {}},
        "back": {"name": "p_back"},
        "theirs": {"external": True},
    }
    new: dict[str, dict[str, Any]] = {
        "front": {"name": "p_front", "internal": True},
        "back": {"name": "p_back", "ipam": {}},
        "theirs": {"external": True, "name": "x"},
        "fresh": {"name": "p_fresh"},
    }
    assert renewed(old, new) == ["front"]
    assert renewed({}, new) == []
    inside = {"image": "i", "networks": {"front": None, "back": None}}
    services = {
        "a": want(config=inside),
        "b": want("b", config={"networks": {"back": None}}),
        "c": want("c", config=inside, image_id="sha256:n"),
        "d": want("d", config=inside),
    }
    found = plan(services, {name: [UP] for name in "abc"}, Deployed(), networks=["front"])
    assert [(change.action, change.reason) for change in found.changes] == [
        (Action.RECREATE, "made anew: its network front"),
        (Action.KEEP, "runs as described"),
        (Action.RECREATE, "there is another image i; made anew: its network front"),
        (Action.CREATE, "has never run here"),
    ]
    assert found.changes[2].causes == ("image", "network")


def test_a_change_names_its_causes_for_programs() -> None:
    both = want(image_id="sha256:n", digest="d")
    (change,) = plan({"a": both}, {"a": [UP]}, Deployed()).changes
    assert change.causes == ("contents", "image")


def test_no_value_of_a_variable_is_told() -> None:
    parts = changed_parts({"environment": {"PASSWORD": "old"}}, {"environment": {"PASSWORD": "new"}})
    assert parts == ["environment (PASSWORD)"]


def test_only_what_composes_hash_knows_counts_and_our_own_label_does_not() -> None:
    old = {"build": "x", "labels": {"ragkeep.contents": "1"}}
    new = {"scale": 2, "labels": {"ragkeep.contents": "2"}}
    assert changed_parts(old, new) == []
    assert changed_parts(old, {**new, "labels": {"mine": "1"}}) == ["labels"]
    assert changed_parts(old, {**old, "depends_on": {"b": {}}}) == ["dependencies"]


def test_long_lists_are_cut() -> None:
    assert in_words(["a"]) == "a"
    assert in_words([*"abcdefg"]) == "a, b, c, d, e and 2 more"


def test_what_runs_and_is_not_wanted_is_removed() -> None:
    found = plan({"a": want()}, {"a": [UP], "b": [UP]}, Deployed())
    assert found.action("b") is Action.REMOVE
    assert not found.is_empty


@pytest.mark.parametrize(
    "tie",
    [
        {"network_mode": "service:a"},
        {"ipc": "service:a"},
        {"volumes_from": ["a:ro"]},
        {"depends_on": {"a": {"restart": True}}},
    ],
)
def test_what_lives_on_another_container_is_replaced_with_it(tie: dict[str, Any]) -> None:
    services = {"b": want("b", config=tie), "a": want(image_id="sha256:n")}
    found = plan(services, {"a": [UP], "b": [UP]}, Deployed())
    assert found.changes[0].reason == "it depends on the container of a"
    assert found.action("b") is Action.RECREATE
    same = plan({**services, "a": want()}, {"a": [UP], "b": [UP]}, Deployed())
    assert same.is_empty


def test_what_prepares_a_service_runs_again_before_it_starts() -> None:
    ended = replace(UP, service="prepare", phase="exited")
    services = {
        "a": want(config={"depends_on": {"prepare": {"condition": "service_completed_successfully"}}}),
        "prepare": want("prepare", once=True),
    }
    assert plan(services, {"a": [UP], "prepare": [ended]}, Deployed()).is_empty
    found = plan(services, {"a": [replace(UP, phase="exited")], "prepare": [ended]}, Deployed())
    assert found.changes[1].action is Action.START
    assert found.changes[1].reason == "runs before each start of a"
