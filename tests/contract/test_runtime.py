"""What every runtime must do, asked of each driver and of the fake; of the Compose runtime in the tier for Docker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.errors import ScaleRefusedError, ServiceFailedError, UnknownServiceError
from portal.runtime.fake import FakeRuntime
from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import Action, Runtime, ServiceStatus, State, Terminal
from portal.runtime.spec import StackSpec
from tests.support import servers, tiny_stack

pytestmark = [pytest.mark.integration]

# Prints which processes of a sleep there are.
LEFT = """
import pathlib
lines = ((one.name, one.joinpath("cmdline").read_bytes()) for one in pathlib.Path("/proc").glob("[0-9]*"))
print([name for name, line in lines if line == b"sleep\\x004343\\x00"])
"""


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRuntime]:
    runtime = EmbeddedRuntime(RuntimePaths(tmp_path_factory.mktemp("var")))
    yield runtime
    runtime.supervisor.shutdown()


@pytest.fixture(params=["embedded", "fake"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    chosen: Runtime = FakeRuntime({"broken": ""}) if request.param == "fake" else request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def spec(runtime: Runtime, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StackSpec]:
    stack = tiny_stack.tiny(f"t{abs(hash(request.node.name)) % 10**8}", tmp_path)
    yield stack
    runtime.remove(stack, data=True)


def states(runtime: Runtime, spec: StackSpec) -> dict[str, State]:
    return {status.service: status.state for status in runtime.status(spec)}


def test_a_stack_that_never_ran_is_stopped_and_would_be_created(runtime: Runtime, spec: StackSpec) -> None:
    assert set(states(runtime, spec).values()) == {State.STOPPED}
    assert {change.action for change in runtime.plan(spec).changes} == {Action.CREATE}
    assert runtime.validate(spec) == ()


def test_apply_makes_everything_healthy_and_a_second_apply_changes_nothing(runtime: Runtime, spec: StackSpec) -> None:
    seen: list[ServiceStatus] = []
    first = runtime.apply(spec, report=seen.append)
    assert [change.action for change in first.changes] == [Action.CREATE] * 3
    before = runtime.status(spec)
    assert [status.state for status in before] == [State.HEALTHY] * 3
    assert [status.title for status in before] == ["Front", "Middle", "Store"]
    healthy = [status.service for status in seen if status.state is State.HEALTHY]
    assert set(healthy) == {"front", "middle", "store"}

    assert runtime.apply(spec).is_empty
    after = runtime.status(spec)
    assert [(s.pid, s.since) for s in after] == [(s.pid, s.since) for s in before]


def test_a_service_starts_after_what_it_depends_on(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    since = {status.service: status.since or 0 for status in runtime.status(spec)}
    assert since["store"] <= since["middle"] <= since["front"]


def test_status_tells_memory_and_start(runtime: Runtime, spec: StackSpec) -> None:
    begin = time.time() - 2
    runtime.apply(spec)
    for status in runtime.status(spec):
        assert status.pid
        assert status.memory_bytes
        assert begin <= (status.since or 0) <= time.time() + 1
    assert {name: stats.processes for name, stats in runtime.stats(spec).items()} == dict.fromkeys(spec.services, 1)


def test_one_service_can_be_stopped_and_started_again(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    runtime.stop(spec, services=["front"])
    assert states(runtime, spec) == {"front": State.STOPPED, "middle": State.HEALTHY, "store": State.HEALTHY}
    assert runtime.plan(spec).action("front") is Action.START
    assert runtime.plan(spec).action("store") is Action.KEEP
    runtime.apply(spec, services=["front"])
    assert set(states(runtime, spec).values()) == {State.HEALTHY}


def test_starting_one_service_starts_what_it_needs_and_no_more(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec, services=["middle"])
    assert states(runtime, spec) == {"front": State.STOPPED, "middle": State.HEALTHY, "store": State.HEALTHY}


def test_only_what_changed_is_created_anew(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    started = {status.service: (status.pid, status.since) for status in runtime.status(spec)}
    changed = tiny_stack.tiny(
        spec.project, spec.file.parent, middle=tiny_stack.service("other", port=8002, offset=1, needs=("store",))
    )
    actions = {change.service: change.action for change in runtime.plan(changed).changes}
    assert actions == {"front": Action.KEEP, "middle": Action.RECREATE, "store": Action.KEEP}
    runtime.apply(changed)
    assert set(states(runtime, changed).values()) == {State.HEALTHY}
    now = {status.service: (status.pid, status.since) for status in runtime.status(changed)}
    assert (now["front"], now["store"]) == (started["front"], started["store"])
    assert now["middle"] != started["middle"]


def test_what_was_deployed_once_can_be_deployed_again(runtime: Runtime, spec: StackSpec) -> None:
    runtime.provide(spec)
    assert set(states(runtime, spec).values()) == {State.STOPPED}
    first = runtime.rendered(spec)
    assert runtime.rendered(spec) == first
    assert bool(first.images) is runtime.features.images
    runtime.apply(spec)
    assert runtime.plan(spec, release=first).is_empty

    changed = tiny_stack.tiny(
        spec.project, spec.file.parent, middle=tiny_stack.service("other", port=8002, offset=1, needs=("store",))
    )
    runtime.apply(changed)
    second = runtime.rendered(changed)
    assert second.text != first.text
    back = runtime.plan(changed, release=first)
    assert {change.service for change in back.changes if change.action is Action.RECREATE} == {"middle"}
    assert next(change.causes for change in back.changes if change.service == "middle") == ("configuration",)
    assert runtime.plan(changed, release=second).is_empty
    assert runtime.apply(changed, release=first) == back
    assert runtime.plan(changed, release=first).is_empty
    assert runtime.plan(changed).action("middle") is Action.RECREATE
    assert set(states(runtime, changed).values()) == {State.HEALTHY}


def test_a_service_that_a_release_did_not_have_goes_with_it(runtime: Runtime, spec: StackSpec) -> None:
    first = runtime.rendered(spec)
    more = tiny_stack.tiny(spec.project, spec.file.parent, fourth=tiny_stack.service("four", port=8004, offset=3))
    runtime.apply(more)
    assert runtime.plan(more, release=first).action("fourth") is Action.REMOVE
    runtime.apply(more, release=first)
    assert states(runtime, more) == {**dict.fromkeys(spec.services, State.HEALTHY), "fourth": State.STOPPED}


def test_one_service_can_be_created_anew_as_it_is(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    before = {status.service: (status.pid, status.since) for status in runtime.status(spec)}
    runtime.recreate(spec, "front")
    after = {status.service: (status.pid, status.since) for status in runtime.status(spec)}
    assert {name for name in before if before[name] != after[name]} == {"front"}
    assert set(states(runtime, spec).values()) == {State.HEALTHY}
    assert runtime.plan(spec).is_empty


def test_one_instance_can_always_be_had_and_more_only_where_the_driver_has_them(
    runtime: Runtime, spec: StackSpec
) -> None:
    runtime.apply(spec)
    runtime.scale(spec, "front", 1)
    assert runtime.plan(spec).is_empty
    if not runtime.features.replicas:
        with pytest.raises(ScaleRefusedError, match="front has one instance"):
            runtime.scale(spec, "front", 2)
        assert set(states(runtime, spec).values()) == {State.HEALTHY}


def test_stop_and_remove_can_be_repeated(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    for _ in range(2):
        runtime.stop(spec)
        assert set(states(runtime, spec).values()) == {State.STOPPED}
    for _ in range(2):
        runtime.remove(spec, data=True)
    assert {change.action for change in runtime.plan(spec).changes} == {Action.CREATE}
    assert runtime.stats(spec) == {}


def test_a_service_that_cannot_start_is_named_with_its_log(runtime: Runtime, spec: StackSpec) -> None:
    broken = {"command": ["python", "-c", tiny_stack.BROKEN]}
    stack = tiny_stack.tiny(spec.project, spec.file.parent, broken=broken)
    if isinstance(runtime, FakeRuntime):
        runtime.faults["broken"] = "no configuration found"
    with pytest.raises(ServiceFailedError) as failure:
        runtime.apply(stack)
    assert failure.value.service == "broken"
    assert "no configuration found" in failure.value.log
    assert "no configuration found" in failure.value.message
    assert states(runtime, stack)["broken"] is State.FAILED
    runtime.remove(stack)


def test_logs_hold_what_a_service_wrote(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    assert len(list(runtime.logs(spec, "store", lines=1))) == 1
    assert list(runtime.logs(spec, "store", lines=0)) == []


def test_a_part_of_a_stack_runs_beside_the_whole_under_another_name(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    drill = spec.derive(project=f"drill-{spec.project}", services=["store"])
    runtime.apply(drill)
    assert states(runtime, drill) == {"store": State.HEALTHY}
    runtime.remove(drill, data=True)
    assert set(states(runtime, spec).values()) == {State.HEALTHY}


def test_unknown_services_are_refused_by_name(runtime: Runtime, spec: StackSpec) -> None:
    with pytest.raises(UnknownServiceError, match="no service nosuch"):
        runtime.stop(spec, services=["nosuch"])
    with pytest.raises(UnknownServiceError, match="no service nosuch"):
        runtime.logs(spec, "nosuch")
    with pytest.raises(UnknownServiceError, match="no service nosuch"):
        runtime.scale(spec, "nosuch", 1)
    with pytest.raises(UnknownServiceError, match="no service nosuch"):
        runtime.recreate(spec, "nosuch")
    with pytest.raises(UnknownServiceError, match="no service nosuch"):
        runtime.exec(spec, "nosuch", ["python"])


def test_exec_runs_to_its_end_and_reports_its_status(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    assert runtime.exec(spec, "store", ["python", "-c", "print()"]).returncode == 0


def shown(terminal: Terminal, wanted: bytes) -> bytes:
    """What a terminal wrote until it had written this."""
    told = b""

    def seen() -> bool:
        nonlocal told
        told += terminal.read(0.5) or b""
        return wanted in told

    servers.wait_until(seen, what=f"{wanted!r} on the terminal", seconds=30)
    return told


def test_a_shell_on_a_terminal_echoes_knows_its_size_and_tells_how_it_ended(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    terminal = runtime.terminal(spec, "store", mark="a1", rows=24, columns=80)
    terminal.write(b"stty size\r")
    assert b"stty size\r\n" in shown(terminal, b"24 80\r\n")
    terminal.resize(40, 132)
    terminal.write(b"stty size\r")
    shown(terminal, b"40 132\r\n")
    terminal.write(b"exit 3\r")
    servers.wait_until(lambda: terminal.read(0.5) == b"", what="the end of the terminal")
    assert terminal.close() == 3


def test_what_runs_in_a_terminal_ends_with_it(runtime: Runtime, spec: StackSpec) -> None:
    runtime.apply(spec)
    for mark, end in (("a2", "close"), ("a3", "end")):
        terminal = runtime.terminal(spec, "store", mark=mark, rows=24, columns=80)
        terminal.write(b"(trap '' HUP; exec sleep 4343) &\r")
        terminal.write(b"stty size\r")
        shown(terminal, b"24 80\r\n")
        if end == "end":
            runtime.end_terminal(spec, "store", mark)
        terminal.close()
        left = runtime.exec(spec, "store", ["python", "-c", LEFT])
        assert left.stdout.strip() in ("", "[]"), left.stdout
    with pytest.raises(UnknownServiceError, match="no service nosuch"):
        runtime.terminal(spec, "nosuch", mark="a4", rows=24, columns=80)


def test_features_do_not_change(runtime: Runtime) -> None:
    assert runtime.features == runtime.features
    with pytest.raises(AttributeError):
        runtime.features.driver = "other"  # type: ignore[misc]
