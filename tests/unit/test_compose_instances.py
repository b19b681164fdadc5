"""Instances of a service: what a killed Compose left, new ones beside old ones, how many there can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.runtime.compose import mending, record, scaling
from portal.runtime.compose.balancer import NOBODY, listed, serving
from portal.runtime.compose.record import Deployed, Replacing
from portal.runtime.compose.render import addition, replicas, scaled
from portal.runtime.compose.turns import turn
from portal.runtime.errors import ScaleRefusedError, StackBusyError
from tests.support.containers import UP, kept


def test_a_new_container_beside_the_old_one_goes_and_one_that_remained_gets_its_name() -> None:
    old = replace(UP, id="1", name="p-a-1")
    new = replace(UP, id="2", name="0123456789ab_p-a-1", phase="created")
    second = replace(new, id="3", name="0123456789ab_p-a-2", number="2")
    assert mending.surplus([old, new, second]) == [new]
    assert mending.names([old, second]) == {"3": "p-a-2"}
    assert mending.surplus([old, replace(new, service="b")]) == []
    assert mending.surplus([old, replace(new, phase="running")]) == []


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
