"""The Compose runtime on a real engine: what only containers can show."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backups import process
from backups.secret import write_secret
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.errors import (
    ComposeFailedError,
    EngineGoneError,
    ImageMissingError,
    PortTakenError,
    ServiceFailedError,
    StackFileError,
    StackRuntimeError,
)
from portal.runtime.paths import CHECKOUT, RuntimePaths
from portal.runtime.ports import free_ports
from portal.runtime.protocol import Action, State
from portal.runtime.spec import StackSpec, load_stack
from tests.support import tiny_stack
from tests.support.docker_engine import Engine
from tests.support.servers import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

SLEEP = ["sleep", "infinity"]


@pytest.fixture(scope="module")
def runtime(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> ComposeRuntime:
    tiny_stack.build_image(engine)
    return ComposeRuntime(RuntimePaths(tmp_path_factory.mktemp("var")), Docker(engine.host, engine.config))


@pytest.fixture
def project(runtime: ComposeRuntime, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    name = f"c{abs(hash(request.node.name)) % 10**8}"
    yield name
    runtime.remove(stack(tmp_path, name, a=sleeper()), data=True)


def sleeper(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any key of a service
    """A service that does nothing, and ends at once when told to."""
    return {"image": tiny_stack.IMAGE, "command": SLEEP, "init": True, **changes}


def stack(folder: Path, project: str, **services: dict[str, Any]) -> StackSpec:
    """A stack of these services, its file in `folder`."""
    return tiny_stack.written({"name": "tiny", "services": services}, folder, project)


def ids(engine: Engine, project: str) -> dict[str, list[str]]:
    """The containers of a project, stopped ones too, by service."""
    template = '{{.Label "com.docker.compose.service"}} {{.ID}}'
    label = f"label=com.docker.compose.project={project}"
    found: dict[str, list[str]] = {}
    for line in engine.docker("ps", "--all", "--filter", label, "--format", template).stdout.splitlines():
        found.setdefault(line.split()[0], []).append(line.split()[1])
    return found


# --- what reaches a container, and what does not


def test_settings_reach_a_service_untouched_and_our_own_environment_does_not(
    runtime: ComposeRuntime, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SECRET_KEY", "geheim")
    (tmp_path / ".env").write_text("FROM_FILE=geheim\n")
    word = """$HOME $$ "double" 'single' #no {a}: b \\n ${NOT} 1e3 ü"""
    environment = {
        "WORD": "${WORD}",
        "KEY": "${DJANGO_SECRET_KEY:-}",
        "FILE": "${FROM_FILE:-}",
        "PRICE": "1$$",
        "N": "1e3",
    }
    spec = stack(tmp_path, project, a=sleeper(environment=environment)).derive(settings={"WORD": word})
    runtime.apply(spec)
    told = runtime.exec(spec, "a", ["python", "-c", "import json, os; print(json.dumps(dict(os.environ)))"])
    found = json.loads(told.stdout)
    assert {name: found[name] for name in environment} == {
        "WORD": word,
        "KEY": "",
        "FILE": "",
        "PRICE": "1$",
        "N": "1e3",
    }
    assert "geheim" not in told.stdout
    assert runtime.plan(spec).is_empty


def test_a_secret_is_read_by_the_services_user_and_shows_nowhere(
    runtime: ComposeRuntime, engine: Engine, project: str, tmp_path: Path
) -> None:
    content = {
        "name": "tiny",
        "services": {"a": sleeper(secrets=["word"]), "b": sleeper()},
        "secrets": {"word": {"file": "./elsewhere"}},
    }
    spec = tiny_stack.written(content, tmp_path, project)
    (problem,) = runtime.validate(spec)
    assert problem.path == "secrets.word"
    file = runtime.locate(spec).secret("word")
    file.parent.mkdir(parents=True, mode=0o700)
    write_secret(file, "einmalig-7431")
    assert runtime.validate(spec) == ()
    runtime.apply(spec)

    assert runtime.exec(spec, "a", ["cat", "/run/secrets/word"]).stdout == "einmalig-7431\n"
    assert runtime.exec(spec, "a", ["id", "-u"]).stdout == "1000\n"
    assert runtime.exec(spec, "b", ["ls", "/run/secrets"]).returncode != 0
    folder = runtime.paths.root(project) / "compose"
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "secrets", file)] == [0o700, 0o700, 0o600]
    shown = engine.docker("inspect", *(one for many in ids(engine, project).values() for one in many)).stdout
    kept = [path.read_text() for path in folder.glob("*.json")]
    assert len(kept) == 2
    assert "einmalig-7431" not in "".join([shown, *kept])

    file.write_text("zweimalig\n")
    changes = {change.service: change.reason for change in runtime.plan(spec).changes}
    assert changes == {"a": "what it mounts changed: secret word", "b": "runs as described"}
    runtime.apply(spec)
    assert runtime.exec(spec, "a", ["cat", "/run/secrets/word"]).stdout == "zweimalig\n"


# --- ports


def test_published_ports_lie_at_the_stacks_base_port(runtime: ComposeRuntime, project: str, tmp_path: Path) -> None:
    (base,) = free_ports(1)
    service = {**tiny_stack.service("hello", port=8001, offset=0), "image": tiny_stack.IMAGE, "ports": ["9:8001"]}
    spec = stack(tmp_path, project, a=service).derive(base_port=base)
    runtime.apply(spec)
    assert runtime.locate(spec).port("a") == base
    with socket.create_connection(("127.0.0.1", base), timeout=5) as caller:
        caller.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200 OK" in caller.recv(100)
    assert runtime.taken_ports(spec) == {}

    other = stack(tmp_path, f"{project}x", a=service, b=sleeper()).derive(base_port=base)
    with pytest.raises(PortTakenError) as taken:
        runtime.apply(other)
    assert taken.value.ports == {base: f"service a of the Compose project {project}"}
    assert [status.state for status in runtime.status(other)] == [State.STOPPED] * 2


def test_a_port_that_a_setting_chose_wins_over_the_base_port(
    runtime: ComposeRuntime, engine: Engine, project: str, tmp_path: Path
) -> None:
    base, port = free_ports(2)
    listening = {"x-ragkeep": {"ports": {"80": 0, "81": 1}}}
    ports = ["${RAGKEEP_LISTEN:-127.0.0.1}:${PORT:-8080}:80", "${RAGKEEP_LISTEN:-127.0.0.1}:8081:81"]
    spec = stack(tmp_path, project, a=sleeper(ports=ports, **listening))
    spec = spec.derive(base_port=base, listen="127.0.0.2", settings={"PORT": str(port)})
    runtime.apply(spec)
    told = engine.docker("port", ids(engine, project)["a"][0]).stdout.splitlines()
    assert sorted(told) == [f"80/tcp -> 127.0.0.2:{port}", f"81/tcp -> 127.0.0.2:{base + 1}"]
    again = stack(tmp_path, project, a=sleeper(ports=ports, **listening))
    assert [runtime.locate(again).port("a", inside) for inside in (80, 81)] == [port, base + 1]
    assert runtime.plan(again).is_empty


def test_a_port_that_a_process_holds_is_named_with_it(runtime: ComposeRuntime, project: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        spec = stack(tmp_path, project, a=sleeper(ports=[f"127.0.0.1:{port}:80"]))
        (problem,) = runtime.validate(spec)
        with pytest.raises(PortTakenError) as taken:
            runtime.apply(spec)
    assert f"port {port} is held by" in problem.message
    assert f"(pid {os.getpid()})" in taken.value.ports[port]


# --- what fails


def test_an_image_that_cannot_be_had_leaves_the_old_one_running(
    runtime: ComposeRuntime, engine: Engine, project: str, tmp_path: Path
) -> None:
    runtime.apply(stack(tmp_path, project, a=sleeper()))
    before = ids(engine, project)
    with pytest.raises(ImageMissingError, match=re.escape("localhost:1/none:1 (service b)")) as missing:
        runtime.apply(
            stack(tmp_path, project, a=sleeper(environment={"A": "1"}), b=sleeper(image="localhost:1/none:1"))
        )
    assert missing.value.images == {"b": "localhost:1/none:1"}
    assert ids(engine, project) == before


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (sleeper(command=["no-such-program"], init=False), "could not be started .*no-such-program"),
        (
            sleeper(command=["sh", "-c", "echo so nicht; exit 3"], restart="unless-stopped"),
            "(?s)again and again.*so nicht",
        ),
        (
            sleeper(
                command=["sh", "-c", "echo warte; sleep infinity"],
                healthcheck={"test": ["CMD-SHELL", "echo noch nicht; exit 1"], "interval": "1s"},
                **{"x-ragkeep": {"ports": {"1": 0}, "ready": {"tcp": 1, "seconds": 4}}},
            ),
            "(?s)did not become healthy within 4 s .noch nicht.*warte",
        ),
    ],
)
def test_a_service_that_does_not_come_up_is_named_and_the_others_go_on(
    runtime: ComposeRuntime, project: str, tmp_path: Path, service: dict[str, Any], reason: str
) -> None:
    spec = stack(tmp_path, project, a=service, b=sleeper())
    with pytest.raises(ServiceFailedError, match=reason) as failed:
        runtime.apply(spec)
    assert failed.value.service == "a"
    states = {status.service: status.state for status in runtime.status(spec)}
    assert states["a"] is not State.HEALTHY
    wait_until(lambda: runtime.status(spec)[1].state is State.HEALTHY, what="the other service", seconds=5)


def test_a_file_that_compose_refuses_is_named(runtime: ComposeRuntime, tmp_path: Path) -> None:
    spec = stack(tmp_path, "refused", a=sleeper(shm_size="much"))
    (problem,) = runtime.validate(spec)
    assert problem.path == "tiny.yaml"
    with pytest.raises(StackFileError, match=r"tiny\.yaml: ."):
        runtime.plan(spec)


def test_an_engine_that_is_gone_is_a_problem_with_a_remedy(tmp_path: Path, engine: Engine) -> None:
    lost = ComposeRuntime(RuntimePaths(tmp_path / "var"), Docker("unix:///nowhere.sock", engine.config))
    spec = stack(tmp_path, "gone", a=sleeper())
    (problem,) = lost.validate(spec)
    assert "no Docker Engine answers at unix:///nowhere.sock" in problem.message
    with pytest.raises(EngineGoneError):
        lost.status(spec)


def test_a_command_in_a_service_that_does_not_run_says_so(runtime: ComposeRuntime, tmp_path: Path) -> None:
    with pytest.raises(StackRuntimeError, match="service a does not run"):
        runtime.exec(stack(tmp_path, "never", a=sleeper()), "a", ["true"])


def test_a_command_that_takes_too_long_does_not_go_on_in_the_service(
    runtime: ComposeRuntime, project: str, tmp_path: Path
) -> None:
    spec = stack(tmp_path, project, a=sleeper())
    runtime.apply(spec)
    with pytest.raises(ComposeFailedError, match="did not finish within 1 s"):
        runtime.exec(spec, "a", ["sleep", "4242"], timeout=1)
    script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    assert "sleep 4242" not in runtime.exec(spec, "a", ["sh", "-c", script]).stdout


APPLY = """
import sys
from pathlib import Path
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.paths import CHECKOUT, RuntimePaths
from portal.runtime.spec import load_stack
var, file, project, host, config = sys.argv[1:]
ComposeRuntime(RuntimePaths(Path(var)), Docker(host, Path(config))).apply(load_stack(Path(file), project=project))
"""


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


# --- several files, preparation, removal


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
