"""What containers use, and what happened to them, as a real engine tells it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backups import process
from portal.cleanup import engine as leftover
from portal.doctor.containers import check_docker
from portal.doctor.findings import ERROR, OK, Subject
from portal.doctor.services import check_services
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.paths import RuntimePaths
from portal.runtime.protocol import Happened
from portal.runtime.spec import StackSpec
from tests.support import tiny_stack
from tests.support.docker_engine import Engine
from tests.support.servers import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

# Waits, so that it has begun and is seen to run, then takes more than it may have.
GREEDY = "import time; time.sleep(2); x = bytearray(2**28); [x.__setitem__(i, 1) for i in range(0, 2**28, 4096)]"
NAME = "chappen"


@pytest.fixture(scope="module")
def docker(engine: Engine) -> Docker:
    tiny_stack.build_image(engine)
    return Docker(engine.host, engine.config)


@pytest.fixture
def runtime(docker: Docker, tmp_path: Path) -> Iterator[ComposeRuntime]:
    found = ComposeRuntime(RuntimePaths(tmp_path / "var"), docker)
    yield found
    found.remove(stack(tmp_path), data=True)


def stack(folder: Path, **greedy: Any) -> StackSpec:  # noqa: ANN401 - any key of a service
    """A web server, and a service that takes 256 MB of the 64 it may have."""
    services = {
        "store": {"image": tiny_stack.IMAGE, **tiny_stack.service("store", port=8001, offset=0)},
        "greedy": {
            "image": tiny_stack.IMAGE,
            "command": ["python", "-c", GREEDY],
            "restart": "unless-stopped",
            "deploy": {"resources": {"limits": {"memory": "64m"}}},
            **greedy,
        },
    }
    return tiny_stack.written({"name": "tiny", "services": services}, folder, NAME)


def test_a_container_out_of_memory_is_named(runtime: ComposeRuntime, docker: Docker, tmp_path: Path) -> None:
    spec, began = stack(tmp_path), time.time() - 1
    runtime.apply(spec, services=["store", "greedy"], timeout=60)

    def killed() -> bool:
        return any(item.what is Happened.OUT_OF_MEMORY for item in runtime.happenings(spec, since=began))

    wait_until(killed, what="the engine's word of it", seconds=60)
    told = runtime.happenings(spec, since=began)
    assert {item.service for item in told} == {"greedy"}
    found = list(check_services(Subject(paths=runtime.paths, runtime=runtime, groups=(spec,))))
    assert [finding.state for finding in found if finding.message.startswith(f"{NAME}/greedy ran out of memory")] == [
        ERROR
    ]
    assert not any(f"{NAME}/store" in finding.message for finding in found)


def test_a_container_that_was_told_to_stop_did_nothing_by_itself(runtime: ComposeRuntime, tmp_path: Path) -> None:
    # What the same project did in the test before is over.
    spec, began = stack(tmp_path, command=["sleep", "infinity"], init=True), time.time()
    runtime.apply(spec)
    runtime.stop(spec)
    runtime.apply(spec)
    runtime.recreate(spec, "store")
    assert runtime.happenings(spec, since=began) == ()


def test_what_went_through_network_and_disks_is_counted(runtime: ComposeRuntime, tmp_path: Path) -> None:
    spec = stack(tmp_path, command=["sleep", "infinity"], init=True)
    runtime.apply(spec)
    before = runtime.stats(spec)["store"]
    ask = "import urllib.request as u; [u.urlopen('http://store:8001').read() for _ in range(50)]"
    assert runtime.exec(spec, "greedy", ["python", "-c", ask], timeout=60).returncode == 0
    after = runtime.stats(spec)["store"]
    assert before.network_in is not None
    assert after.network_in is not None
    assert after.network_in - before.network_in > 50 * 40
    assert after.disk_read is not None


def test_docker_and_compose_are_looked_at(
    runtime: ComposeRuntime, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker.host)
    monkeypatch.setenv("DOCKER_CONFIG", str(docker.config))
    subject = Subject(paths=runtime.paths, runtime=runtime, groups=())
    assert [(finding.name, finding.state) for finding in check_docker(subject)] == [("docker", OK), ("compose", OK)]
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert next(check_docker(subject)).state == ERROR


def test_an_image_that_lost_its_container_can_go_and_a_kept_one_cannot(engine: Engine, docker: Docker) -> None:
    tags = [f"ragkeep/left:{datetime.now(UTC):%H%M%S}", "ragkeep/kept:chappen-left-1"]
    recipe = f"FROM {tiny_stack.IMAGE}\nRUN true # {time.time()}\n"
    process.run(["docker", "build", "--tag", tags[0], "-"], env=engine.environ, stdin=recipe, timeout=120)
    try:
        (piece,) = [one for one in leftover.images(docker, [], []) if tags[0] in one.name]
        engine.docker("tag", tags[0], tags[1])
        assert not [one for one in leftover.images(docker, [], []) if tags[0] in one.name]
        engine.docker("rmi", tags[1])
        leftover.remove(docker, piece)
        assert not engine.has_image(tags[0])
    finally:
        engine.docker("rmi", "--force", *tags, check=False)
