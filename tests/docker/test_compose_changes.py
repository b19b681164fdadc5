"""The Compose runtime on a real engine: what changes, is prepared, is left by the killed, and removed."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from backups import process
from portal.runtime.compose import ComposeRuntime
from portal.runtime.errors import ServiceFailedError
from portal.runtime.paths import CHECKOUT
from portal.runtime.protocol import Action
from portal.runtime.spec import StackSpec, load_stack
from tests.support import tiny_stack
from tests.support.docker_engine import Engine
from tests.support.servers import wait_until
from tests.support.sleepers import APPLY, ids, project, runtime, sleeper, stack

__all__ = ["project", "runtime"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


def test_whoever_takes_over_from_a_killed_apply_finishes_it(
    runtime: ComposeRuntime, engine: Engine, project: str, tmp_path: Path
) -> None:
    # Takes its time to end, so that Compose has the new container beside the old one for a while.
    slow = {"command": ["sh", "-c", "trap 'sleep 1; exit' TERM; while :; do sleep 0.1; done"], "init": False}

    def described(mark: str) -> StackSpec:
        marked = {"environment": {"MARK": mark}}
        return stack(tmp_path, project, a=sleeper(**slow, **marked), b=sleeper(**marked, depends_on=["a"]))

    runtime.apply(described("0"))
    for attempt, seconds in enumerate((0.6, 1.0, 1.6, 2.2), start=1):
        spec = described(str(attempt))
        words = [str(runtime.paths.var), str(spec.file), project, engine.host, str(engine.config)]
        with process.Running([sys.executable, "-c", APPLY, *words], cwd=CHECKOUT) as applying:
            with contextlib.suppress(process.ProcessError):
                applying.wait(seconds)
            applying.kill()
        plan = runtime.apply(spec)
        assert {change.action for change in plan.changes} <= {Action.KEEP, Action.CREATE, Action.START, Action.RECREATE}
        assert {name: len(found) for name, found in ids(engine, project).items()} == {"a": 1, "b": 1}
        for name in ("a", "b"):
            assert runtime.exec(spec, name, ["printenv", "MARK"]).stdout == f"{attempt}\n"
        assert runtime.plan(spec).is_empty


def test_an_overlay_changes_services_and_adds_what_prepares_them(
    runtime: ComposeRuntime, engine: Engine, project: str, tmp_path: Path
) -> None:
    overlay = tmp_path / "more.yaml"
    ends = {"condition": "service_completed_successfully"}
    prepare = {
        "image": tiny_stack.IMAGE,
        "command": ["sh", "-c", "date +%N >> /data/runs"],
        "volumes": ["data:/data"],
        "user": "0",
    }
    more = {"a": {"environment": {"MORE": "1"}, "depends_on": {"prepare": ends}, "volumes": ["data:/data"]}}
    overlay.write_text(json.dumps({"services": {**more, "prepare": prepare}, "volumes": {"data": {}}}))
    plain = stack(tmp_path, project, a=sleeper(), b=sleeper())
    spec = plain.derive(overlays=[overlay])

    def runs() -> int:
        return len(runtime.exec(spec, "a", ["cat", "/data/runs"]).stdout.split())

    plan = runtime.apply(spec)
    assert [change.service for change in plan.changes] == ["a", "b", "prepare"]
    assert runtime.exec(spec, "a", ["printenv", "MORE"]).stdout == "1\n"
    assert runs() == 1
    assert runtime.plan(spec).is_empty
    assert [status.service for status in runtime.status(spec)] == ["a", "b"]

    runtime.stop(spec)
    runtime.apply(spec, services=["a"])
    assert runs() == 2
    runtime.apply(plain)
    assert set(ids(engine, project)) == {"a", "b"}
    assert runtime.exec(plain, "a", ["printenv", "MORE"]).returncode == 1


def test_a_preparation_that_fails_keeps_its_service_down(
    runtime: ComposeRuntime, engine: Engine, project: str, tmp_path: Path
) -> None:
    ends = {"condition": "service_completed_successfully"}
    prepare = sleeper(command=["sh", "-c", "echo kaputt; exit 4"], **{"x-ragkeep": {"once": True}})
    spec = stack(tmp_path, project, a=sleeper(depends_on={"prepare": ends}), prepare=prepare)
    with pytest.raises(ServiceFailedError, match=r"(?s)prepare gave up starting .ended with status 4.*kaputt"):
        runtime.apply(spec)
    assert set(ids(engine, project)) == {"prepare"}


def test_data_outlives_a_removal_unless_it_is_to_go_too(
    runtime: ComposeRuntime, engine: Engine, project: str, tmp_path: Path
) -> None:
    content = {"name": "tiny", "services": {"a": sleeper(volumes=["data:/data"])}, "volumes": {"data": {}}}
    spec = tiny_stack.written(content, tmp_path, project)

    def volumes() -> list[str]:
        return engine.docker("volume", "ls", "--quiet", "--filter", f"name={project}").stdout.split()

    runtime.apply(spec)
    runtime.remove(spec)
    assert (ids(engine, project), volumes()) == ({}, [f"{project}_data"])
    assert runtime.plan(spec).action("a") is Action.CREATE
    runtime.apply(spec)
    runtime.remove(spec, data=True)
    assert volumes() == []
    assert not runtime.paths.root(project).exists()
    assert project not in engine.docker("network", "ls").stdout


def test_logs_are_followed_across_a_restart(
    runtime: ComposeRuntime, engine: Engine, project: str, tmp_path: Path
) -> None:
    spec = stack(
        tmp_path, project, a=sleeper(command=["sh", "-c", "echo eins; sleep 0.3; echo zwei >&2; exec sleep infinity"])
    )
    runtime.apply(spec)
    wait_until(lambda: list(runtime.logs(spec, "a")) == ["eins", "zwei"], what="both lines", seconds=20)
    assert list(runtime.logs(spec, "a", lines=1)) == ["zwei"]
    following = runtime.logs(spec, "a", follow=True)
    assert [next(following), next(following)] == ["eins", "zwei"]
    engine.docker("restart", *ids(engine, project)["a"])
    assert [next(following), next(following)] == ["eins", "zwei"]


def test_a_network_that_changed_is_made_anew_with_those_who_are_in_it(
    runtime: ComposeRuntime, engine: Engine, project: str, tmp_path: Path
) -> None:
    def described(*, internal: bool) -> StackSpec:
        services = {"a": sleeper(networks=["front"]), "b": sleeper(networks=["front", "back"]), "c": sleeper()}
        networks = {"front": {"internal": internal}, "back": {}}
        content = {"name": "tiny", "services": services, "networks": networks}
        return tiny_stack.written(content, tmp_path, project)

    runtime.apply(described(internal=False))
    before, changed = ids(engine, project), described(internal=True)
    reasons = {change.service: change.reason for change in runtime.plan(changed).changes}
    assert reasons == {
        "a": "made anew: its network front",
        "b": "made anew: its network front",
        "c": "runs as described",
    }
    runtime.apply(changed, services=["c"])
    assert ids(engine, project) == before, "nobody is cut off who is not started again"
    runtime.apply(changed)
    after = ids(engine, project)
    assert {name for name in after if after[name] != before[name]} == {"a", "b"}
    assert engine.docker("network", "inspect", "-f", "{{.Internal}}", f"{project}_front").stdout.strip() == "true"
    assert runtime.plan(changed).is_empty


def test_stats_tell_memory_and_processor_time(runtime: ComposeRuntime, project: str, tmp_path: Path) -> None:
    busy = ["python", "-c", "import time; x = bytearray(30 << 20); [0 for _ in range(10**7)]; time.sleep(1000)"]
    spec = stack(tmp_path, project, a=sleeper(command=busy, init=False, stop_grace_period="1s"))
    runtime.apply(spec)
    wait_until(lambda: runtime.stats(spec)["a"].cpu_seconds > 0.2, what="processor time", seconds=30)
    used = runtime.stats(spec)["a"]
    assert 30 << 20 < used.memory_bytes < 90 << 20
    assert used.processes == 1


@pytest.mark.parametrize("overlays", [(), ("offline",), ("dev",), ("staging",), ("offline", "production")])
def test_the_products_own_files_can_be_planned(
    runtime: ComposeRuntime, tmp_path: Path, overlays: tuple[str, ...]
) -> None:
    folder = runtime.paths.stack_file.parent
    settings = {"RAGKEEP_CERTIFICATES": str(tmp_path), "OLLAMA_URL": "" if overlays else "http://elsewhere:11434"}
    spec = load_stack(runtime.paths.stack_file, project="own").derive(
        overlays=[folder / f"{name}.yaml" for name in overlays], settings=settings
    )
    lasting = [name for name in spec.services if overlays or name != "ollama"]
    plan = runtime.plan(spec)
    assert [change.service for change in plan.changes] == [*lasting, *spec.once]
    assert {change.action for change in plan.changes} == {Action.CREATE}
    assert {problem.path for problem in runtime.validate(spec)} == {f"secrets.{name}" for name in spec.secrets}
