"""The verbs that start, stop, show and clean: what they refuse, and with which words."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from backups import process
from backups.secret import write_secret
from config.cli import clean, doctor, down, logs, status, up
from config.cli.installation import ensure_secrets, open_installation, password_shown, unshown_password
from config.cli.output import Output, UserError, speaking
from config.cli.uplock import only_one
from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.paths import RuntimePaths
from portal.runtime.supervisor import Supervisor
from tests.support import tiny_stack

pytestmark = pytest.mark.integration
Call = Callable[..., Result]


@pytest.fixture
def var(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rk-")).resolve()
    monkeypatch.setenv("RAGKEEP_VAR", str(folder))
    yield folder
    Supervisor(RuntimePaths(folder)).shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def call(var: Path) -> Call:
    def invoke(command: click.Command, *words: str, typed: str = "") -> Result:
        return CliRunner().invoke(command, list(words), input=typed)

    return invoke


def only_object(result: Result) -> dict[str, Any]:
    """Standard output must be one JSON object and nothing else."""
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


# --- up


def test_up_names_who_holds_a_port_before_it_makes_anything(var: Path, call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        result = call(up.command, "--port", str(port), "--json")
    error = only_object(result)["error"]
    assert result.exit_code == 1
    assert error["code"] == "port_taken"
    assert f"port {port} is held by" in error["message"]
    assert f"(pid {os.getpid()})" in error["message"]
    assert "--port" in error["remedy"]
    assert not (var / "control").exists()
    assert Supervisor(RuntimePaths(var)).pid() is None


def test_a_second_up_says_who_is_at_it(var: Path, call: Call) -> None:
    with only_one(var / "run", "up"):
        result = call(up.command)
    assert result.exit_code == 1
    assert f"error: manage.py up (pid {os.getpid()}) is at work on this installation" in result.stderr
    assert "what to do: wait" in result.stderr
    assert result.stdout == ""


def test_the_lock_ends_with_its_process(var: Path) -> None:
    code = "import os; from pathlib import Path; from config.cli.uplock import only_one\n"
    code += f"with only_one(Path({str(var / 'run')!r}), 'up'): os._exit(9)"
    done = process.run([str(RuntimePaths(var).tool("python")), "-c", code], check=False)
    assert done.returncode == 9
    with only_one(var / "run", "up"):
        pass


@pytest.mark.parametrize("port", ["0", "-1", "80", "65530", "99999"])
def test_a_base_port_without_room_is_refused(call: Call, port: str) -> None:
    result = call(up.command, "--port", port)
    assert result.exit_code == 1
    assert f"port {port} cannot be the base port" in result.stderr


@pytest.mark.parametrize("address", ["nonsense", "203.0.113.7", ""])
def test_an_address_of_another_machine_is_refused_before_it_is_remembered(call: Call, var: Path, address: str) -> None:
    result = call(up.command, "--listen", address, "--json")
    error = only_object(result)["error"]
    assert (result.exit_code, error["code"]) == (1, "address")
    assert repr(address) in error["message"]
    assert "0.0.0.0" in error["remedy"]
    assert not (var / "control").exists()


def test_secrets_are_made_once_private_and_different(var: Path) -> None:
    installation = open_installation()
    ensure_secrets(installation)
    files = sorted(var.glob("**/secrets/*"))
    first = {file: file.read_text() for file in files}
    assert {file.name for file in files} >= {"postgres_password", "internal_token", "django_secret_key"}
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    # The administrator is the same person on both sides.
    assert len(set(first.values())) == len(files) - 1
    ensure_secrets(installation)
    assert {file: file.read_text() for file in files} == first


def test_the_password_is_due_until_somebody_was_told(var: Path) -> None:
    installation = open_installation()
    ensure_secrets(installation)
    # A first run that failed half-way leaves secrets and shows nothing; the second one finds them.
    ensure_secrets(installation)
    due = unshown_password(installation)
    assert due is not None
    assert due.reveal() == (var / "control" / "secrets" / "admin_password").read_text().strip()
    password_shown(installation)
    assert unshown_password(open_installation()) is None
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in var.glob("**/secrets/*"))


# --- status, logs, down


def test_status_of_an_installation_that_never_ran(call: Call) -> None:
    result = call(status.command, "--json")
    found = only_object(result)
    assert result.exit_code == 1
    assert found["healthy"] is False
    assert {service["state"] for service in found["services"]["rag"]} == {"stopped"}
    assert len(found["services"]["rag"]) == 8
    assert "nginx      stopped" in call(status.command).stdout


def test_logs_refuses_an_unknown_service_by_name(call: Call) -> None:
    result = call(logs.command, "nosuch")
    assert result.exit_code == 1
    assert "there is no service nosuch" in result.stderr
    assert "rag/api" in result.stderr


def test_logs_shows_the_last_lines(var: Path, call: Call) -> None:
    folder = var / "stacks" / "rag" / "logs"
    folder.mkdir(parents=True)
    (folder / "api.log").write_text("one\ntwo\nthree\n")
    assert call(logs.command, "api", "-n", "2").stdout == "two\nthree\n"
    assert "rag/api            three" in call(logs.command, "-n", "1").stdout


def test_logs_as_one_object(var: Path, call: Call) -> None:
    folder = var / "control" / "logs"
    folder.mkdir(parents=True)
    (folder / "worker.log").write_text("one\ntwo\n")
    assert only_object(call(logs.command, "worker", "-n", "1", "--json")) == {"logs": {"control/worker": ["two"]}}
    refused = call(logs.command, "--json", "--follow")
    assert refused.exit_code == 1
    assert "cannot follow" in only_object(refused)["error"]["message"]


def test_down_can_be_repeated(call: Call) -> None:
    for _ in range(2):
        result = call(down.command, "--json")
        assert result.exit_code == 0
        assert only_object(result) == {"stopped": True}


# --- clean


@pytest.fixture
def data(var: Path) -> Path:
    kept = var / "stacks" / "rag" / "volumes" / "documents" / "live"
    kept.mkdir(parents=True)
    (kept / "file").write_bytes(b"x" * 100)
    (var / "tools").mkdir()
    return kept / "file"


def test_clean_wants_its_words_typed(data: Path, call: Call) -> None:
    result = call(clean.command, typed="yes\n")
    assert result.exit_code == 1
    assert "all documents, conversations, accounts, vectors and models" in result.stderr
    assert data.exists()
    assert call(clean.command, typed="delete everything\n").exit_code == 0
    assert not data.exists()


def test_clean_in_json_needs_yes(data: Path, var: Path, call: Call) -> None:
    result = call(clean.command, "--json")
    assert (result.exit_code, only_object(result)["error"]["code"]) == (1, "unconfirmed")
    assert data.exists()
    found = only_object(call(clean.command, "--json", "--yes"))
    assert found["removed"] == ["run", "stacks"]
    assert (var / "tools").exists()


def test_clean_refuses_while_something_runs(data: Path, var: Path, call: Call) -> None:
    stack = tiny_stack.tiny().derive(services=["store"])
    EmbeddedRuntime(RuntimePaths(var)).apply(stack)
    result = call(clean.command, "--yes", "--json")
    assert result.exit_code == 1
    assert only_object(result)["error"] == {
        "code": "running",
        "message": "services are still running",
        "remedy": "run manage.py down first",
    }
    assert data.exists()


# --- doctor


def test_doctor_has_a_remedy_for_everything_that_is_not_well(var: Path, call: Call) -> None:
    folder = var / "control" / "secrets"
    folder.mkdir(parents=True)
    write_secret(folder / "django_secret_key", "x")
    (folder / "django_secret_key").chmod(0o644)
    result = call(doctor.command, "--json")
    findings = only_object(result)["findings"]
    assert result.exit_code == 1
    assert all(finding["remedy"] for finding in findings if finding["state"] != "ok")
    (wrong,) = [finding for finding in findings if finding["name"] == "permissions"]
    assert wrong["state"] == "error"
    assert "django_secret_key" in wrong["message"]
    assert {"python", "restic", "nginx", "postgres", "disk", "memory", "clock", "supervisor"} <= {
        finding["name"] for finding in findings
    }


# --- output


def test_a_failure_is_one_object_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with speaking(as_json=True) as output:
            output.step("working")
            raise UserError("it is broken", "mend it", "broken")

    with pytest.raises(SystemExit) as end:
        fail()
    told = capsys.readouterr()
    assert end.value.code == 1
    assert json.loads(told.out) == {"error": {"code": "broken", "message": "it is broken", "remedy": "mend it"}}
    assert told.err.splitlines() == ["working", "error: it is broken", "what to do: mend it"]


def test_without_json_the_result_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result({"a": 1}, "done\n")
    assert capsys.readouterr().out == "done\n"
