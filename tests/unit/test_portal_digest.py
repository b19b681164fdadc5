"""Two callers in different surroundings must agree whether a service runs as described."""

from __future__ import annotations

from dataclasses import replace

from portal.runtime.probe import Probe
from portal.runtime.translate import LocalService

SERVICE = LocalService(
    name="api",
    argv=("python", "-m", "api"),
    init=(),
    env={"PATH": "/usr/bin", "LANG": "C.UTF-8", "GREETING": "hello"},
    cwd="/srv",
    folders=(),
    stop_signal="SIGTERM",
    probe=Probe(host="127.0.0.1", port=1, http="", command=(), seconds=1),
)


def test_inherited_surroundings_do_not_recreate_a_service() -> None:
    elsewhere = {**SERVICE.env, "PATH": "/opt/bin", "TZ": "UTC"}
    assert replace(SERVICE, env=elsewhere).digest == SERVICE.digest


def test_a_changed_variable_of_its_own_does() -> None:
    assert replace(SERVICE, env={**SERVICE.env, "GREETING": "hi"}).digest != SERVICE.digest
