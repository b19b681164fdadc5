"""The Compose runtime on a real engine: what only containers can show."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

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
from portal.runtime.paths import RuntimePaths
from portal.runtime.ports import free_ports
from portal.runtime.protocol import State
from tests.support import tiny_stack
from tests.support.docker_engine import Engine
from tests.support.servers import wait_until
from tests.support.sleepers import ids, project, runtime, sleeper, stack

__all__ = ["project", "runtime"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


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
