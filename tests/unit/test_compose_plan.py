"""What the Compose runtime makes of containers: the condition of a service, and what a deploy would do with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.runtime.compose import mending, record, scaling, usage
from portal.runtime.compose.balancer import NOBODY, listed, serving
from portal.runtime.compose.comparison import Wanted, changed_parts, plan, renewed
from portal.runtime.compose.comparison import listed as in_words
from portal.runtime.compose.containers import Container, judge, read
from portal.runtime.compose.logs import Line, just_after, merged
from portal.runtime.compose.logs import lines as log_lines
from portal.runtime.compose.record import Deployed, Kept, Replacing
from portal.runtime.compose.render import addition, replicas, scaled
from portal.runtime.compose.turns import turn
from portal.runtime.errors import ScaleRefusedError, StackBusyError
from portal.runtime.protocol import Action, State

NOW = 1_000_000.0
UP = Container("1", "a", "sha256:i", "h", "", "running", started=NOW - 60, pid=7)

INSPECTED: dict[str, Any] = {
    "Id": "abc",
    "Image": "sha256:i",
    "Name": "/p-a-2",
    "RestartCount": 2,
    "Config": {
        "Labels": {
            "com.docker.compose.service": "a",
            "com.docker.compose.config-hash": "h",
            "com.docker.compose.container-number": "2",
            "ragkeep.contents": "c",
        }
    },
    "State": {
        "Status": "running",
        "Pid": 7,
        "ExitCode": 0,
        "Error": "",
        "OOMKilled": False,
        "StartedAt": "2026-01-02T03:04:05.123456789Z",
        "Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "first\nno answer\n"}]},
    },
}


def test_a_container_is_read_from_what_the_engine_tells() -> None:
    assert read(INSPECTED) == Container(
        id="abc",
        service="a",
        image="sha256:i",
        config_hash="h",
        contents="c",
        phase="running",
        health="unhealthy",
        said="no answer",
        restarts=2,
        started=1767323045.123456,
        pid=7,
        name="p-a-2",
        number="2",
    )


def test_a_container_that_never_started_has_no_start_and_no_process() -> None:
    state = {"Status": "created", "Pid": 0, "StartedAt": "0001-01-01T00:00:00Z", "Health": {"Status": "none"}}
    found = read({**INSPECTED, "State": state})
    assert (found.started, found.pid, found.health) == (None, None, "")


@pytest.mark.parametrize(
    ("change", "state", "detail"),
    [
        ({}, State.HEALTHY, ""),
        ({"health": "healthy", "restarts": 9, "started": NOW}, State.HEALTHY, ""),
        ({"health": "starting", "said": "not yet"}, State.STARTING, "not yet"),
        ({"health": "unhealthy", "said": "no answer"}, State.UNHEALTHY, "no answer"),
        # Without a health check a container that ends at once must not count as healthy meanwhile.
        ({"started": NOW - 0.2}, State.STARTING, ""),
        (
            {"started": NOW - 5, "restarts": 1, "exit_code": 3},
            State.STARTING,
            "ended with status 3 and is started again",
        ),
        ({"started": NOW - 60, "restarts": 1}, State.HEALTHY, ""),
        ({"phase": "restarting", "restarts": 2, "exit_code": 1}, State.STARTING, "ended with status 1 and is"),
        ({"phase": "restarting", "restarts": 3}, State.FAILED, "it ended again and again"),
        ({"started": NOW - 1, "restarts": 4}, State.FAILED, "it ended again and again"),
        ({"phase": "paused"}, State.UNHEALTHY, "is paused"),
        ({"phase": "created"}, State.STOPPED, ""),
        ({"phase": "created", "error": "no such program"}, State.FAILED, "no such program"),
        ({"phase": "exited", "exit_code": 0}, State.STOPPED, ""),
        ({"phase": "exited", "exit_code": 143}, State.STOPPED, ""),
        ({"phase": "exited", "exit_code": 1}, State.FAILED, "ended with status 1"),
        ({"phase": "exited", "exit_code": 137, "out_of_memory": True}, State.FAILED, "used more memory than its limit"),
    ],
)
def test_the_condition_of_a_service(change: dict[str, Any], state: State, detail: str) -> None:
    found = judge("a", "A", [replace(UP, **change)], now=NOW)
    assert found.state is state
    assert found.detail.startswith(detail)
    assert bool(found.detail) is bool(detail)
    assert (found.pid is not None) is (change.get("phase", "running") in ("running", "restarting", "paused"))


def test_a_service_without_containers_is_stopped() -> None:
    assert judge("a", "A", [], now=NOW).state is State.STOPPED


def test_what_was_told_to_stop_did_not_fail_whatever_its_status() -> None:
    ended = replace(UP, phase="exited", exit_code=1)
    assert judge("a", "A", [ended], now=NOW, stopped=True).state is State.STOPPED


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, State.STARTING),
        ({"phase": "exited", "exit_code": 0}, State.HEALTHY),
        ({"phase": "exited", "exit_code": 1}, State.FAILED),
        ({"phase": "exited", "exit_code": 143}, State.FAILED),
    ],
)
def test_what_runs_to_its_end_is_healthy_once_it_ended_well(change: dict[str, Any], state: State) -> None:
    assert judge("a", "A", [replace(UP, **change)], now=NOW, once=True).state is state


def test_a_service_is_as_well_as_the_worst_of_its_containers() -> None:
    sick = replace(UP, id="2", health="unhealthy", pid=8)
    found = judge("a", "A", [UP, sick], now=NOW)
    assert (found.state, found.pid) == (State.UNHEALTHY, 8)
    gone = replace(UP, phase="exited", exit_code=0)
    assert judge("a", "A", [UP, gone], now=NOW).state is State.STOPPED


# --- the plan


def want(name: str = "a", **changes: Any) -> Wanted:  # noqa: ANN401 - any field
    plain = Wanted(name, {"image": "i"}, "h", {}, "", "i", "sha256:i")
    return replace(plain, **changes)


def kept(**changes: Any) -> Kept:  # noqa: ANN401 - any field
    return replace(Kept({"image": "i"}, "h", "h", {}), **changes)


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


# --- what a killed Compose left


def test_a_new_container_beside_the_old_one_goes_and_one_that_remained_gets_its_name() -> None:
    old = replace(UP, id="1", name="p-a-1")
    new = replace(UP, id="2", name="0123456789ab_p-a-1", phase="created")
    second = replace(new, id="3", name="0123456789ab_p-a-2", number="2")
    assert mending.surplus([old, new, second]) == [new]
    assert mending.names([old, second]) == {"3": "p-a-2"}
    assert mending.surplus([old, replace(new, service="b")]) == []
    assert mending.surplus([old, replace(new, phase="running")]) == []


# --- new containers beside old ones

OLD, NEW = replace(UP, id="1"), replace(UP, id="2")


def test_of_two_beside_each_other_the_new_one_goes_until_it_has_proven_itself() -> None:
    assert mending.leaving([OLD, NEW], {}) == []
    assert mending.leaving([OLD, NEW], {"a": Replacing(("1",))}) == [NEW]
    assert mending.leaving([OLD, NEW], {"a": Replacing(("1",), passed=True)}) == [OLD]
    assert mending.leaving([OLD], {"a": Replacing(("1",), passed=True)}) == []
    assert mending.leaving([NEW], {"a": Replacing(("1",))}) == []
    assert mending.leaving([OLD, NEW], {"b": Replacing(("1",))}) == []


def test_requests_go_to_the_healthy_ones_and_to_all_that_run_if_none_is() -> None:
    healthy = replace(UP, id="3", health="healthy")
    starting = replace(UP, id="4", health="starting")
    assert serving([healthy, starting, replace(UP, id="5", phase="exited")]) == [healthy]
    assert serving([starting]) == [starting]
    assert serving([]) == []


def test_a_list_has_the_addresses_that_nginx_can_reach() -> None:
    first = replace(UP, id="a", addresses=(("p_backend", "10.1.0.2"), ("p_front", "10.2.0.2")))
    second = replace(UP, id="b", addresses=(("p_front", "10.2.0.3"),))
    lost = replace(UP, id="c", addresses=(("p_backend", "10.1.0.9"),))
    lines = "server 10.2.0.2:8000 max_fails=0;\nserver 10.2.0.3:8000 max_fails=0;\n"
    assert listed(8000, [second, lost, first], {"p_front", "p_edge"}) == lines
    assert listed(8000, [], {"p_front"}) == NOBODY


@pytest.mark.parametrize(
    ("service", "config", "instances", "reason"),
    [
        ({}, {}, 0, "can have 1 to 50 instances, not 0"),
        ({}, {}, 51, "can have 1 to 50 instances, not 51"),
        ({"single": "its data belongs to one server"}, {}, 2, "one instance only: its data belongs to one server"),
        ({}, {"container_name": "mine"}, 2, "its container has a name of its own"),
        ({}, {"ports": [{"target": 80, "published": "8080"}]}, 2, "it publishes a port of this host"),
    ],
)
def test_what_cannot_be_had_more_than_once_says_why(
    service: dict[str, Any], config: dict[str, Any], instances: int, reason: str
) -> None:
    wanted = replace(addition("a", "A"), **service)
    with pytest.raises(ScaleRefusedError, match=reason):
        scaling.check(wanted, config, instances)
    scaling.check(wanted, config, 1)
    scaling.check(addition("a", "A"), {"ports": [{"target": 80}]}, 3)


def test_how_many_somebody_asked_for_is_no_other_configuration() -> None:
    model = {"services": {"a": {"image": "i", "scale": 1}, "b": {"deploy": {"replicas": 1, "resources": {}}}, "c": {}}}
    found = scaled(model, {"a": 3, "b": 2, "gone": 4})
    assert found["services"] == {
        "a": {"image": "i", "scale": 3},
        "b": {"deploy": {"replicas": 2, "resources": {}}},
        "c": {},
    }
    assert [replicas(config) for config in found["services"].values()] == [3, 2, 1]


def test_only_one_at_a_time_changes_a_stack(tmp_path: Path) -> None:
    file = tmp_path / "compose" / "lock"
    busy = pytest.raises(StackBusyError, match="somebody else is changing the stack p")
    with turn(file, "p"), busy, turn(file, "p", patience=0):
        raise AssertionError
    with turn(file, "p", patience=0):
        assert file.exists()


# --- what is written, remembered and used


def frame(stream: int, text: str) -> bytes:
    """A frame as the engine sends it."""
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text.encode()


def test_both_streams_of_a_log_are_one() -> None:
    raw = frame(1, "2026-01-02T03:04:05.000000001Z eins zwei\n") + frame(2, "2026-01-02T03:04:05.000000002Z \n")
    first, second = Line("2026-01-02T03:04:05.000000001Z", "eins zwei"), Line("2026-01-02T03:04:05.000000002Z", "")
    assert log_lines(raw) == [first, second]
    assert log_lines(b"2026-01-02T03:04:05.000000001Z eins zwei\r\n", terminal=True) == [first]
    assert merged([[second], [first]]) == [first, second]


def test_the_moment_after_a_line_is_a_nanosecond_later() -> None:
    assert just_after("2026-01-02T03:04:05.000000001Z") == "1767323045.000000002"
    assert just_after("2026-01-02T03:04:05.999999999Z") == "1767323046.000000000"


def test_the_record_of_a_deploy_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "compose" / "deployed.json"
    assert record.load(file) == Deployed()
    first = Deployed().started({"a": kept(), "b": kept()}).told_to_stop({"a"}).beside({"b": Replacing(("1", "2"))})
    first = first.connected({"front": {"name": "p_front"}})
    record.save(file, first)
    assert record.load(file) == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert first.started({"a": kept()}).stopped == frozenset()
    assert set(first.without({"a"}).services) == {"b"}
    assert first.replaced({"b"}).replacing == {}


def test_use_is_told_alike_for_both_generations_of_control_groups() -> None:
    old = {"memory_stats": {"usage": 100, "stats": {"total_inactive_file": 40, "inactive_file": 1}}}
    new = {"memory_stats": {"usage": 100, "stats": {"inactive_file": 40}}}
    assert [usage.memory_bytes(old), usage.memory_bytes(new), usage.memory_bytes({})] == [60, 60, 0]
    assert usage.cpu_seconds({"cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}}}) == 2.5


def test_visitors_of_a_container_are_not_counted() -> None:
    assert usage.family_size(1, [(1, 0), (3, 2), (2, 1), (9, 8)]) == 3
    assert usage.family_size(1, []) == 0
