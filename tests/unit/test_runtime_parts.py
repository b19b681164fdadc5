"""Ports, logs, order of start, launchers, supervisor files: the embedded runtime's parts, each alone."""

from __future__ import annotations

import os
import socket
from itertools import islice
from pathlib import Path

import pytest

from portal.runtime import leftovers, logfile, ports, procfs
from portal.runtime.errors import PortTakenError, ServiceFailedError
from portal.runtime.launchers import nginx, valkey
from portal.runtime.launchers.postgres import server
from portal.runtime.paths import SOCKET_LIMIT, RuntimePaths
from portal.runtime.protocol import ServiceStatus, State
from portal.runtime.startup import Startup
from portal.runtime.supervisor import Program, render_daemon, render_group
from tests.support import tiny_stack

# --- ports


def test_the_holder_of_a_port_is_named_with_its_pid() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        pid, words = ports.holders([port])[port]
    assert pid == os.getpid()
    assert words == f"{procfs.name(os.getpid())} (pid {os.getpid()})"
    assert ports.holders([port]) == {}


def test_ports_bound_to_the_other_protocol_are_found() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        port = listening.getsockname()[1]
        assert ports.holders([port])[port][0] == os.getpid()


def test_a_stranger_is_named_by_user(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 999999999999 1\n"
        "   1: 0100007F:1F91 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 4 1\n"
    )
    (found,) = ports.listeners([table])
    assert (found.port, found.uid) == (8080, 0)
    assert ports.describe(found, None) == (None, "a process of user root")


def test_free_ports_differ() -> None:
    assert len(set(ports.free_ports(20))) == 20


def test_a_taken_port_says_what_to_do() -> None:
    fault = PortTakenError({8080: "nginx (pid 7)", 8090: "python (pid 8)"})
    assert fault.message == "port 8080 is held by nginx (pid 7); port 8090 is held by python (pid 8)"
    assert "--port" in fault.remedy


# --- processes


def test_a_family_is_found_parents_first() -> None:
    processes = {
        pid: procfs.Entry(pid, parent, 0, 0.0, "S") for pid, parent in {1: 0, 2: 1, 3: 2, 4: 2, 5: 1, 6: 3}.items()
    }
    assert procfs.family(2, processes) == [2, 3, 4, 6]
    assert procfs.family(9, processes) == []
    assert procfs.ancestors(6, processes) == {6, 3, 2, 1}


def test_our_own_entry_is_right() -> None:
    entry = procfs.entry(os.getpid())
    assert entry is not None
    assert entry.parent == os.getppid()
    assert procfs.memory([os.getpid()]) > 1 << 20


def test_memory_counts_what_processes_share_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    for pid in (1, 2, 3, 4):
        (tmp_path / str(pid)).mkdir()
    (tmp_path / "1" / "smaps_rollup").write_text("0-1 ---p 0 00:00 0 [rollup]\nRss: 90 kB\nPss: 30 kB\n")
    for pid, own, shared in ((2, 5, 60), (3, 7, 80)):
        (tmp_path / str(pid) / "status").write_text(
            f"Name: x\nVmRSS: 99 kB\nRssAnon: {own} kB\nRssFile: 4 kB\nRssShmem: {shared} kB\n"
        )
    assert procfs.memory([1, 2, 3, 4]) == (30 + 5 + 7 + 4 + 80) * 1024
    assert procfs.memory([]) == 0


def test_what_went_to_disks_is_added_up_as_far_as_we_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    for pid in (1, 2):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "io").write_text(f"rchar: 9\nread_bytes: {pid}\nwrite_bytes: {pid}0\n")
    assert procfs.disk([1, 2, 3]) == (3, 30)
    assert procfs.disk([3]) is None


def test_kills_for_want_of_memory_are_the_kernels_own_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "PROC", tmp_path)
    assert procfs.memory_kills() == 0
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\n")
    assert procfs.memory_kills() == 3


def test_a_record_tells_a_reused_pid_from_the_old_one(tmp_path: Path) -> None:
    entry = procfs.entry(os.getpid())
    assert entry is not None
    leftovers.write_record(tmp_path, "a", entry, "digest", "SIGTERM")
    record = leftovers.read_record(tmp_path, "a")
    assert record is not None
    assert record.alive
    older = procfs.Entry(entry.pid, entry.parent, entry.started - 1, 0.0, "S")
    leftovers.write_record(tmp_path, "b", older, "digest", "SIGTERM")
    reused = leftovers.read_record(tmp_path, "b")
    assert reused is not None
    assert not reused.alive
    (tmp_path / "c.process.json").write_text("{")
    assert leftovers.read_record(tmp_path, "c") is None


# --- logs


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert logfile.tail(log, 5) == []
    log.write_text("".join(f"line {n}\n" for n in range(50_000)))
    assert logfile.tail(log, 2) == ["line 49998", "line 49999"]
    assert len(logfile.tail(log, 20_000)) == 20_000
    assert logfile.tail(log, 0) == []


def test_following_a_log_across_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\nlast\n")
    lines = logfile.follow(log, 1)
    assert next(lines) == "last"
    with log.open("a") as file:
        file.write("new\nhalf")
    assert next(lines) == "new"
    with log.open("a") as file:
        file.write(" whole\n")
    assert next(lines) == "half whole"
    log.rename(tmp_path / "a.log.1")
    log.write_text("after\n")
    assert next(lines) == "after"


# --- order of start


class World:
    """Services that become healthy when asked a second time; a clock that moves when somebody sleeps."""

    def __init__(self, *, never: str = "", fatal: str = "") -> None:
        self.events: list[str] = []
        self.now = 0.0
        self.asked: dict[str, int] = {}
        self.never, self.fatal = never, fatal

    def check(self, name: str) -> ServiceStatus:
        self.asked[name] = self.asked.get(name, 0) + 1
        state = State.HEALTHY if self.asked[name] > 1 and name != self.never else State.STARTING
        return ServiceStatus(name, name, State.FAILED if name == self.fatal else state, "not yet")

    def startup(self) -> Startup:
        def sleep(seconds: float) -> None:
            self.now += seconds

        return Startup(
            tiny_stack.tiny().services,
            start=self.events.extend,
            check=lambda names: [self.check(name) for name in names],
            log=lambda name: [f"last words of {name}"],
            report=lambda status: self.events.append(f"{status.service} {status.state}"),
            clock=lambda: self.now,
            sleep=sleep,
        )


def test_each_service_waits_until_what_it_needs_is_healthy() -> None:
    world = World()
    world.startup().run(["front", "store", "middle"], [], 60)
    assert world.events == [
        "store", "store starting", "store healthy",
        "middle", "middle starting", "middle healthy",
        "front", "front starting", "front healthy",
    ]  # fmt: skip


def test_what_runs_already_is_awaited_but_not_started() -> None:
    world = World()
    world.startup().run(["middle"], ["store", "middle"], 60)
    assert [event for event in world.events if " " not in event] == ["middle"]
    assert world.events[0] == "store starting"


def test_a_service_that_never_becomes_healthy_ends_the_wait_with_its_log() -> None:
    with pytest.raises(ServiceFailedError) as failure:
        World(never="middle").startup().run(["store", "middle", "front"], [], 60)
    assert failure.value.service == "middle"
    assert "did not become healthy within 20 s (not yet)" in failure.value.message
    assert "last words of middle" in failure.value.message


def test_a_service_that_gave_up_is_reported_at_once() -> None:
    world = World(fatal="store")
    with pytest.raises(ServiceFailedError, match="service store gave up starting"):
        world.startup().run(["store", "middle"], [], 60)
    assert world.now < 1
    assert "middle" not in world.events


# --- files for the servers


def test_valkeys_password_goes_into_a_private_file(tmp_path: Path) -> None:
    text = valkey.render(port=7, folder=tmp_path, password="geheim", settings=["appendonly yes"])
    assert 'requirepass "geheim"' in text
    assert "bind 127.0.0.1\n" in text
    target = tmp_path / "run" / "valkey.conf"
    valkey.write_private(target, "old")
    valkey.write_private(target, text)
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.read_text() == text


def test_postgres_listens_on_loopback_without_a_unix_socket() -> None:
    argv = server(Path("/d"), Path("/bin/postgres"), "5433", ["-c", "x=1"])
    assert argv == ["/bin/postgres", "-D", "/d", "-p", "5433", "-h", "127.0.0.1", "-k", "", "-c", "x=1"]


def test_the_nginx_template_leaves_nginxs_own_variables_alone() -> None:
    assert nginx.render("a ${RAGKEEP_X} $host ${host}", {"RAGKEEP_X": "1"}) == "a 1 $host ${host}"
    with pytest.raises(KeyError):
        nginx.render("${RAGKEEP_Y}", {})


def test_a_group_file_holds_no_definition_and_no_secret() -> None:
    program = Program("api", Path("/v 1/%/services.json"), Path("/v/logs/api.log"), "SIGINT", 20)
    text = render_group("rag", [program])
    assert "[group:rag]\nprograms=rag.api\n" in text
    assert "process_name=api" in text
    assert "'/v 1/%%/services.json' api" in text
    assert "stopsignal=INT\nstopwaitsecs=20" in text
    assert "environment" not in text


def test_the_sockets_path_is_never_too_long() -> None:
    near, far = RuntimePaths(Path("/v")), RuntimePaths(Path("/" + "v" * 120))
    assert near.socket == Path("/v/run/supervisord.sock")
    assert len(os.fsencode(far.socket)) <= SOCKET_LIMIT
    assert far.socket != RuntimePaths(Path("/" + "v" * 121)).socket
    assert f"file={far.socket}" in render_daemon(far)


def test_the_state_folder_can_be_moved() -> None:
    assert RuntimePaths.discover({}).var.name == "var"
    assert RuntimePaths.discover({"RAGKEEP_VAR": "/elsewhere"}).var == Path("/elsewhere")
    assert RuntimePaths(Path("/v")).root("control") == Path("/v/control")
    assert RuntimePaths(Path("/v")).volumes("rag") == Path("/v/stacks/rag/volumes")


def test_lines_are_read_lazily(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("1\n2\n3\n")
    assert list(islice(logfile.follow(log, 3), 2)) == ["1", "2"]


def test_taken_ports_are_told_by_who_holds_them() -> None:
    fault = PortTakenError({8081: "nginx (pid 7)", 9000: "python (pid 9)", 8080: "nginx (pid 7)"})
    assert fault.message == "ports 8080, 8081 are held by nginx (pid 7); port 9000 is held by python (pid 9)"


def test_free_ports_are_out_of_reach_of_outgoing_connections() -> None:
    found = ports.free_ports(12)
    assert len(set(found)) == 12
    outgoing = int(ports.OUTGOING.read_text().split()[0])
    assert outgoing < 21000 or all(ports.FIRST_FREE <= port < outgoing for port in found)


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        assert not ports.is_free(holder.getsockname()[1])
