"""The three classics, provoked for real on processes of this host, and recognised afterwards; what a killed process
leaves behind in the history."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from portal.doctor.findings import ERROR, WARNING, Finding, Subject
from portal.doctor.services import check_services
from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.errors import ServiceFailedError
from portal.runtime.protocol import Happened, State
from portal.runtime.spec import StackSpec
from tests.support import tiny_stack
from tests.support.servers import wait_until

pytestmark = pytest.mark.integration

GREEDY = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28)); x = bytearray(2**29)"


def one(code: str) -> StackSpec:
    """A stack of one service that runs this."""
    service: dict[str, Any] = {**tiny_stack.service("one", port=8001, offset=0), "command": ["python", "-c", code]}
    return tiny_stack.tiny("one", store=service).derive(services=["store"])


def findings(runtime: EmbeddedRuntime, spec: StackSpec) -> list[Finding]:
    return list(check_services(Subject(paths=runtime.paths, runtime=runtime, groups=(spec,))))


def broken(runtime: EmbeddedRuntime, code: str) -> list[Finding]:
    """What the doctor says of a service that runs this code and gives up."""
    spec = one(code)
    with pytest.raises(ServiceFailedError):
        runtime.apply(spec)
    return findings(runtime, spec)


def test_a_port_conflict_is_recognised(runtime: EmbeddedRuntime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = broken(runtime, f"import socket; socket.create_server(('127.0.0.1', {taken.getsockname()[1]}))")
    assert [finding.state for finding in found] == [ERROR, WARNING, ERROR]
    assert found[0].message.startswith("one/store is failed")
    assert "exit status 1" in found[1].message
    assert "port conflict at one/store: OSError" in found[2].message
    assert "--port" in found[2].remedy


def test_a_permission_error_is_recognised(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.write_text("x")
    closed.chmod(0o000)
    if os.access(closed, os.R_OK):
        pytest.skip("whoever may read everything is kept out of nothing")
    found = broken(runtime, f"open({str(closed)!r})")
    assert f"permission error at one/store: PermissionError: [Errno 13] Permission denied: '{closed}'" in [
        finding.message for finding in found
    ]


def test_want_of_memory_is_recognised(runtime: EmbeddedRuntime) -> None:
    found = broken(runtime, GREEDY)
    assert "out of memory at one/store: MemoryError" in [finding.message for finding in found]


def test_a_killed_process_is_remembered_with_how_it_ended(runtime: EmbeddedRuntime) -> None:
    spec, began = tiny_stack.tiny(), time.time() - 1
    runtime.apply(spec)
    assert runtime.happenings(spec, since=began) == ()
    before = next(status.pid for status in runtime.status(spec) if status.service == "store")
    assert before
    os.kill(before, signal.SIGKILL)

    def back() -> bool:
        now = next(status for status in runtime.status(spec) if status.service == "store")
        return now.state is State.HEALTHY and now.pid != before

    wait_until(back, what="the killed service", seconds=15)
    (happened,) = runtime.happenings(spec, since=began)
    assert (happened.service, happened.what, happened.detail) == ("store", Happened.ENDED, "terminated by SIGKILL")
    (found,) = findings(runtime, spec)
    assert (found.state, found.message) == (
        WARNING,
        "tiny/store ended by itself in the last day: terminated by SIGKILL (once)",
    )
    # What somebody asked for is none of it.
    runtime.recreate(spec, "store")
    assert len(runtime.happenings(spec, since=began)) == 1
    assert runtime.stats(spec)["store"].disk_written is not None
