"""What the Compose runtime makes of containers: the condition of a service, and what they use and write."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from portal.runtime.compose import usage
from portal.runtime.compose.containers import Container, judge, read
from portal.runtime.compose.logs import Line, just_after, merged
from portal.runtime.compose.logs import lines as log_lines
from portal.runtime.protocol import State
from tests.support.containers import NOW, UP

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


def test_use_is_told_alike_for_both_generations_of_control_groups() -> None:
    old = {"memory_stats": {"usage": 100, "stats": {"total_inactive_file": 40, "inactive_file": 1}}}
    new = {"memory_stats": {"usage": 100, "stats": {"inactive_file": 40}}}
    assert [usage.memory_bytes(old), usage.memory_bytes(new), usage.memory_bytes({})] == [60, 60, 0]
    assert usage.cpu_seconds({"cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}}}) == 2.5


def test_visitors_of_a_container_are_not_counted() -> None:
    assert usage.family_size(1, [(1, 0), (3, 2), (2, 1), (9, 8)]) == 3
    assert usage.family_size(1, []) == 0
