"""supervisord as a service of this program: started on demand, spoken to over XML-RPC on a unix socket."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import shlex
import socket
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backups import process
from portal.runtime import leftovers, procfs
from portal.runtime.errors import SupervisorGoneError
from portal.runtime.paths import RuntimePaths
from portal.runtime.translate import INHERITED

# Faults of supervisord that mean "it is that way already".
ALREADY = frozenset({60, 70, 90})  # ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED
START_SECONDS = 15.0
LOG_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Program:
    """What supervisord must know of one service; the rest is read by portal.runtime.start."""

    name: str
    definitions: Path
    log: Path
    stop_signal: str
    stop_seconds: int


@dataclass(frozen=True, slots=True)
class Process:
    """What supervisord says of one service: its `state` word, pid (0: none), start as Unix time, a description."""

    state: str
    pid: int
    start: float
    note: str

    @property
    def is_up(self) -> bool:
        """True while supervisord keeps it running, or is trying to."""
        return self.state in ("STARTING", "RUNNING", "BACKOFF")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=90)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ANN401 - signature of the base class
        return _Connection(self._path)


class Supervisor:
    """The one supervisord of a `var`. Methods may be called from several processes at once."""

    def __init__(self, paths: RuntimePaths) -> None:
        self._paths = paths

    def pid(self) -> int | None:
        """Its pid; None when it does not run."""
        try:
            return int(self._call("getPID"))
        except SupervisorGoneError:
            return None

    def ensure(self) -> bool:
        """Start it unless it runs; whatever a killed predecessor left behind is stopped first.

        Returns:
            True when it had to be started.

        Raises:
            SupervisorGoneError: it did not start.
        """
        with self._lock():
            if self.pid() is not None:
                return False
            leftovers.stop(leftovers.find(self._paths, supervisor=None))
            self._start()
            return True

    def shutdown(self) -> None:
        """Stop every group and then supervisord itself; returns when its process is gone."""
        pid = self.pid()
        if pid is None:
            leftovers.stop(leftovers.find(self._paths, supervisor=None))
            return
        self._call("shutdown")
        _wait(lambda: procfs.entry(pid) is None, 120, "supervisord did not stop")

    def put(self, group: str, programs: list[Program]) -> bool:
        """Make `group` known with these programs, nothing started.

        Returns:
            True when a group that differed was replaced, which stopped everything in it.
        """
        file = self._groups / f"{group}.conf"
        text = render_group(group, programs)
        with self._lock():
            known = group in self._active_groups()
            if known and file.is_file() and file.read_text(encoding="utf-8") == text:
                return False
            if known:
                self._remove(group)
            self._groups.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            self._call("reloadConfig")
            self._call("addProcessGroup", group)
            return known

    def drop(self, group: str) -> None:
        """Stop a group and forget it; nothing happens when it is not known."""
        with self._lock():
            (self._groups / f"{group}.conf").unlink(missing_ok=True)
            if self.pid() is not None and group in self._active_groups():
                self._remove(group)
                self._call("reloadConfig")

    def processes(self, group: str) -> dict[str, Process]:
        """The programs of a group by name; empty when supervisord does not run or does not know the group."""
        try:
            entries = self._call("getAllProcessInfo")
        except SupervisorGoneError:
            return {}
        return {entry["name"]: _process(entry) for entry in entries if entry["group"] == group}

    def start(self, group: str, name: str) -> None:
        """Have a program started; does not wait for it."""
        self._call("startProcess", f"{group}:{name}", False)

    def stop(self, group: str, name: str) -> None:
        """Have a program stopped; does not wait for it."""
        self._call("stopProcess", f"{group}:{name}", False)

    @property
    def _groups(self) -> Path:
        return self._paths.run / "groups"

    def _active_groups(self) -> set[str]:
        return {str(entry["group"]) for entry in self._call("getAllProcessInfo")}

    def _remove(self, group: str) -> None:
        self._call("stopProcessGroup", group)
        self._call("removeProcessGroup", group)

    def _call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - XML-RPC answers are what they are
        transport = _Transport(str(self._paths.socket))
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport, allow_none=True) as server:
            try:
                return getattr(server.supervisor, method)(*arguments)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode in ALREADY:
                    return False
                raise SupervisorGoneError(f"supervisord refused {method}: {fault.faultString}") from None
            except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
                raise SupervisorGoneError(f"supervisord does not answer ({error})", "manage.py up starts it") from None

    def _start(self) -> None:
        run = self._paths.run
        run.mkdir(parents=True, exist_ok=True)
        # Groups are added by the drivers; a list left by a predecessor would name folders that may be gone.
        for old in self._groups.glob("*.conf") if self._groups.is_dir() else ():
            old.unlink()
        self._paths.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        conf = run / "supervisord.conf"
        conf.write_text(render_daemon(self._paths), encoding="utf-8")
        log = run / "supervisord.log"
        argv = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(conf)]
        started = process.start_detached(argv, log=log, env=clean_environment(), cwd=run)
        try:
            _wait(lambda: self.pid() is not None, START_SECONDS, f"supervisord (pid {started}) did not start")
        except SupervisorGoneError as error:
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
            raise SupervisorGoneError(f"{error.message}: {' '.join(tail)}", f"read {log}") from None

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        self._paths.run.mkdir(parents=True, exist_ok=True)
        with (self._paths.run / "supervisord.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def clean_environment() -> dict[str, str]:
    """The part of our environment that a service inherits."""
    found = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **found}


def render_daemon(paths: RuntimePaths) -> str:
    """supervisord's own configuration file."""
    run = _literal(paths.run)
    return f"""[unix_http_server]
file={_literal(paths.socket)}
chmod=0700

[supervisord]
logfile={run}/supervisord.log
pidfile={run}/supervisord.pid
childlogdir={run}
identifier=ragkeep
silent=true
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={run}/groups/*.conf
"""


def render_group(group: str, programs: list[Program]) -> str:
    """The configuration file of one group; program sections carry the group's name because supervisord has one
    namespace for them all."""
    names = ",".join(f"{group}.{program.name}" for program in programs)
    sections = [_render_program(group, program) for program in programs]
    return f"[group:{group}]\nprograms={names}\n\n" + "\n".join(sections)


def _render_program(group: str, program: Program) -> str:
    argv = (sys.executable, "-m", "portal.runtime.start", str(program.definitions), program.name)
    return f"""[program:{group}.{program.name}]
process_name={program.name}
command={_literal(shlex.join(argv))}
directory={_literal(Path(__file__).resolve().parents[2])}
autostart=false
autorestart=true
startsecs=1
startretries=3
stopsignal={program.stop_signal.removeprefix("SIG")}
stopwaitsecs={program.stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile={_literal(program.log)}
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups=3
"""


def _literal(value: object) -> str:
    return str(value).replace("%", "%%")


def _process(entry: dict[str, Any]) -> Process:
    return Process(
        state=str(entry["statename"]),
        pid=int(entry["pid"]),
        start=float(entry["start"]),
        note=str(entry["spawnerr"] or entry["description"]),
    )


def _wait(done: Callable[[], bool], seconds: float, late: str) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise SupervisorGoneError(late)
        time.sleep(0.05)
