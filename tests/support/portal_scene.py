"""A stack that runs on a scripted runtime, one complete set of it, and a scripted agent: what the portal does around
them is real."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_django import Settings

from config.celery import app
from portal.core import places
from portal.operations.models import Operation
from portal.operations.services import operation_start
from portal.runtime.fake import FakeRuntime
from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import Plan, Rendered, Report
from portal.runtime.spec import StackSpec
from portal.runtime.state import locate, read_state, settle, write_state
from portal.runtime.translate import Location
from portal.stacks.services import stack_ensure
from portal.vaults import agents, jobs
from portal.vaults.models import BackupSet, Repository, SetState
from tests.support import servers

TARGET = "stack:rag"


class PlacedRuntime(FakeRuntime):
    """The fake runtime with a place on this machine; `crash` is raised by the next start."""

    def __init__(self, var: Path) -> None:
        super().__init__()
        self.paths = RuntimePaths(var)
        self.crash: Exception | None = None

    def locate(self, spec: StackSpec) -> Location:
        return locate(spec, settle(spec, read_state(self.paths.root(spec.project))), self.paths)

    def apply(
        self,
        spec: StackSpec,
        *,
        services: Collection[str] | None = None,
        report: Report | None = None,
        timeout: float = 180.0,
        release: Rendered | None = None,
    ) -> Plan:
        crash, self.crash = self.crash, None
        if crash:
            raise crash
        root = self.paths.root(spec.project)
        write_state(root, settle(spec, read_state(root)))
        return super().apply(spec, services=services, report=report, timeout=timeout, release=release)

    def remove(self, spec: StackSpec, *, data: bool = False) -> None:
        super().remove(spec, data=data)
        if data:
            shutil.rmtree(self.paths.root(spec.project), ignore_errors=True)

    def running(self, spec: StackSpec) -> set[str]:
        return {status.service for status in self.status(spec) if status.state == "healthy"}


class Scene:
    """One stack that runs, one complete set of it, an agent that obeys files in `folder`."""

    def __init__(self, runtime: PlacedRuntime, spec: StackSpec, folder: Path, found: BackupSet) -> None:
        self.runtime, self.spec, self.folder, self.set = runtime, spec, folder, found

    def restore(self, *, safety: bool = False) -> Operation:
        return operation_start(kind="restore", target=TARGET, params={"set": self.set.pk, "safety": safety})

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def stopped_and_started(self) -> bool:
        """Whether everything runs that ran before."""
        return self.runtime.running(self.spec) == set(self.spec.services)


@pytest.fixture
def scene(
    settings: Settings,
    valkey_server: servers.Valkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    settings.VAR_DIR = tmp_path
    settings.VALKEY_URL = app.conf["broker_url"] = valkey_server.url
    settings.OPERATION_HEARTBEAT_SECONDS = 0.05
    settings.OPERATION_STALE_SECONDS = 0
    runtime = PlacedRuntime(tmp_path)
    monkeypatch.setattr(places, "runtime", lambda: runtime)
    monkeypatch.setattr(jobs, "_tool", lambda _: Path("/bin/true"))
    folder = tmp_path / "agent"
    folder.mkdir()
    fake = (sys.executable, str(servers.REPO / "tests" / "support" / "fake_agent.py"), str(folder))
    monkeypatch.setattr(agents, "COMMAND", fake)
    spec = places.stack_spec("rag")
    write_state(runtime.paths.root("rag"), settle(spec, None))
    _point_redis_at(valkey_server, runtime, spec, monkeypatch)
    runtime.apply(spec)
    runtime.calls.clear()
    stack_ensure(name="rag")
    repository = Repository.objects.create(name="default", url=str(tmp_path / "repo"), password_file="x")
    taken = datetime(2026, 1, 31, tzinfo=UTC)
    found = BackupSet.objects.create(
        id="20260131T000000Z-aaaaaa", stack="rag", repository=repository, state=SetState.COMPLETE, taken_at=taken
    )
    return Scene(runtime, spec, folder, found)


def _point_redis_at(
    server: servers.Valkey, runtime: PlacedRuntime, spec: StackSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = runtime.locate(spec)
    here.secrets.mkdir(parents=True)
    here.secret("redis_password").write_text(server.password)
    monkeypatch.setattr(Location, "port", lambda *_: server.port)
