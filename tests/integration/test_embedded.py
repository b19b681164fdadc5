"""The embedded runtime with real servers: what only processes can show."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import psycopg
import pytest
import redis

from backups.secret import write_secret
from portal.runtime import leftovers, procfs
from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.errors import PortTakenError, ServiceFailedError
from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import Action, State
from portal.runtime.spec import StackSpec, load_stack, parse_stack
from tests.support import tiny_stack
from tests.support.servers import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def spec() -> StackSpec:
    return tiny_stack.tiny()


def pid_of(runtime: EmbeddedRuntime, spec: StackSpec, service: str) -> int | None:
    return next(status.pid for status in runtime.status(spec) if status.service == service)


def test_a_taken_port_is_named_before_anything_starts(runtime: EmbeddedRuntime, spec: StackSpec) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        fixed = spec.derive(base_port=port)
        (problem,) = runtime.validate(fixed)
        assert f"port {port} is held by" in problem.message
        with pytest.raises(PortTakenError) as taken:
            runtime.apply(fixed)
    assert f"(pid {os.getpid()})" in taken.value.ports[port]
    assert {status.state for status in runtime.status(fixed)} == {State.STOPPED}


def test_a_killed_service_comes_back(runtime: EmbeddedRuntime, spec: StackSpec) -> None:
    runtime.apply(spec)
    before = pid_of(runtime, spec, "store")
    assert before
    os.kill(before, signal.SIGKILL)

    def back() -> bool:
        now = next(status for status in runtime.status(spec) if status.service == "store")
        return now.state is State.HEALTHY and now.pid != before

    wait_until(back, what="the killed service", seconds=15)


def test_what_a_killed_supervisor_left_is_stopped_at_the_next_start(runtime: EmbeddedRuntime, spec: StackSpec) -> None:
    runtime.apply(spec)
    old = [pid for status in runtime.status(spec) if (pid := status.pid)]
    supervisor = runtime.supervisor.pid()
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: procfs.entry(supervisor) is None, what="the end of supervisord", seconds=5)
    assert len(old) == 3
    assert set(old) <= set(leftovers.find(runtime.paths, supervisor=None))
    assert {status.state for status in runtime.status(spec)} == {State.STOPPED}

    runtime.apply(spec)
    assert all(procfs.entry(pid) is None for pid in old)
    assert {status.state for status in runtime.status(spec)} == {State.HEALTHY}
    assert leftovers.find(runtime.paths, supervisor=runtime.supervisor.pid()) == {}


def test_another_installations_processes_are_left_alone(runtime: EmbeddedRuntime, spec: StackSpec) -> None:
    runtime.apply(spec)
    assert leftovers.find(RuntimePaths(runtime.paths.var / "other"), supervisor=None) == {}


def test_a_stack_outlives_who_started_it(runtime: EmbeddedRuntime, spec: StackSpec) -> None:
    runtime.apply(spec)
    again = EmbeddedRuntime(RuntimePaths(runtime.paths.var))
    assert again.apply(spec).is_empty
    assert pid_of(again, spec, "front") == pid_of(runtime, spec, "front")


def test_a_service_that_joins_the_stack_lets_the_others_run_again(runtime: EmbeddedRuntime, spec: StackSpec) -> None:
    runtime.apply(spec)
    more = tiny_stack.tiny(side=tiny_stack.service("side", port=8004, offset=3))
    runtime.apply(more)
    assert {status.service: status.state for status in runtime.status(more)} == dict.fromkeys(
        ["front", "middle", "store", "side"], State.HEALTHY
    )


def test_a_service_is_started_anew_when_a_file_it_mounts_changed(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a").write_text("1")
    tree = tiny_stack.tree()
    tree["services"]["store"]["volumes"] = ["./conf:/etc/conf:ro"]
    spec = parse_stack(tree, tmp_path / "stack.yaml").derive(services=["store"])
    runtime.apply(spec)
    assert runtime.plan(spec).action("store") is Action.KEEP
    (tmp_path / "conf" / "a").write_text("2")
    assert runtime.plan(spec).action("store") is Action.RECREATE


def test_a_visiting_command_is_never_taken_for_a_left_over(runtime: EmbeddedRuntime, spec: StackSpec) -> None:
    runtime.apply(spec)
    told = runtime.exec(spec, "store", ["python", "-c", "import os; print(sorted(os.environ))"])
    assert leftovers.MARKER not in told.stdout
    assert "GREETING" in told.stdout


def test_a_long_state_folder_works(spec: StackSpec) -> None:
    deep = Path(tempfile.mkdtemp(prefix="rk-")) / ("d" * 60) / ("e" * 60)
    runtime = EmbeddedRuntime(RuntimePaths(deep))
    try:
        runtime.apply(spec.derive(services=["store"]))
        assert runtime.paths.socket.parent.stat().st_mode & 0o077 == 0
    finally:
        runtime.supervisor.shutdown()
        shutil.rmtree(deep.parents[1])
        shutil.rmtree(runtime.paths.socket.parent, ignore_errors=True)


def test_services_get_their_own_surroundings_and_nothing_of_the_callers(
    runtime: EmbeddedRuntime, spec: StackSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
    runtime.apply(spec)
    told = runtime.exec(spec, "store", ["python", "-c", "import os; print(dict(os.environ))"])
    assert "'GREETING': 'store'" in told.stdout
    assert "geheim" not in told.stdout
    pid = pid_of(runtime, spec, "store")
    assert pid
    running = procfs.environment(pid)
    assert running["GREETING"] == "store"
    assert "AWS_SECRET_ACCESS_KEY" not in running
    assert running[leftovers.MARKER] == leftovers.marker(runtime.paths, "tiny", "store")


def test_logs_are_what_the_service_wrote(runtime: EmbeddedRuntime, spec: StackSpec) -> None:
    runtime.apply(spec)
    port = runtime.locate(spec).port("store")
    assert list(runtime.logs(spec, "store")) == [f"serving on {port}"]
    assert next(iter(runtime.logs(spec, "store", follow=True))) == f"serving on {port}"


def test_a_preparing_command_that_fails_keeps_the_service_down(runtime: EmbeddedRuntime) -> None:
    service = tiny_stack.service("store", port=8001, offset=0)
    service["x-ragkeep"]["init"] = [["python", "-c", "print('preparing', flush=True)"], ["python", "-c", "1/0"]]
    spec = tiny_stack.tiny(store=service).derive(services=["store"])
    with pytest.raises(ServiceFailedError, match="failed with status 1") as failure:
        runtime.apply(spec)
    assert "preparing" in str(failure.value)


@pytest.fixture
def control(runtime: EmbeddedRuntime) -> StackSpec:
    settings = {"RAGKEEP_PORTAL_URL": "http://p", "RAGKEEP_CHAT_URL": "http://c"}
    spec = load_stack(runtime.paths.control_file).derive(services=["postgres", "valkey"], settings=settings)
    folder = runtime.paths.root(spec.project) / "secrets"
    folder.mkdir(parents=True)
    for name in ("postgres_password", "valkey_password"):
        write_secret(folder / name, secrets.token_urlsafe(16))
    return spec


def test_real_postgres_and_valkey_start_with_passwords_and_keep_their_data(
    runtime: EmbeddedRuntime, control: StackSpec
) -> None:
    assert runtime.validate(control) == ()
    runtime.apply(control)
    place = runtime.locate(control)
    password = place.secret("postgres_password").read_text().strip()
    address = f"host=127.0.0.1 port={place.port('postgres')} user=portal dbname=portal"
    with psycopg.connect(f"{address} password={password}") as connection:
        connection.execute("CREATE TABLE kept (n int)")
        stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'portal'").fetchone()
        assert stored is not None
        assert stored[0].startswith("SCRAM-SHA-256$")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"{address} password=wrong")

    def queue() -> redis.Redis:
        word = place.secret("valkey_password").read_text().strip()
        return redis.Redis(port=place.port("valkey"), password=word)

    queue().set("kept", "1")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=place.port("valkey")).ping()

    runtime.stop(control)
    assert (place.volume("postgres") / "live" / "PG_VERSION").read_text().strip() == "18"
    runtime.apply(control)
    with psycopg.connect(f"{address} password={password}") as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert queue().get("kept") == b"1"


def test_missing_secrets_are_named(runtime: EmbeddedRuntime, control: StackSpec) -> None:
    runtime.locate(control).secret("valkey_password").unlink()
    (problem,) = runtime.validate(control)
    assert problem.path == "secrets.valkey_password"
    assert "does not exist" in problem.message
