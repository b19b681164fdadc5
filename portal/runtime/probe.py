"""Asks a local service whether it is ready."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from backups import process


@dataclass(frozen=True, slots=True)
class Probe:
    """A readiness question with real addresses; at most one of `http` (a path) and `command` is set, else plain TCP.

    With port 0 and no command there is nothing to ask: running counts as ready.
    """

    host: str
    port: int
    http: str
    command: tuple[str, ...]
    seconds: float

    @property
    def is_empty(self) -> bool:
        return not self.command and not self.port


def ask(probe: Probe, *, env: Mapping[str, str] = os.environ, timeout: float = 2.0) -> str:
    """Ask once; the answer is empty when the service is ready, else a few words about what is wrong."""
    if probe.command:
        return _command(probe, env, timeout)
    if not probe.port:
        return ""
    return _http(probe, timeout) if probe.http else _tcp(probe, timeout)


def _command(probe: Probe, env: Mapping[str, str], timeout: float) -> str:
    try:
        done = process.run(probe.command, env=env, timeout=timeout, check=False)
    except process.ProcessError as error:
        return error.reason
    said = (done.stdout or done.stderr).strip().splitlines()
    return "" if done.returncode == 0 else (said[-1] if said else f"status {done.returncode}")


def _tcp(probe: Probe, timeout: float) -> str:
    try:
        socket.create_connection((probe.host, probe.port), timeout).close()
    except OSError as error:
        return f"port {probe.port}: {error.strerror or error}"
    return ""


def _http(probe: Probe, timeout: float) -> str:
    connection = http.client.HTTPConnection(probe.host, probe.port, timeout=timeout)
    try:
        connection.request("GET", probe.http)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{probe.http}: {getattr(error, 'strerror', None) or type(error).__name__}"
    finally:
        connection.close()
    return "" if status < 400 else f"{probe.http} answered {status}"
