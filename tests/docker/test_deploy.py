"""Deploys on a real engine: the old release goes on serving whatever is wrong with the new one, whoever is killed."""

from __future__ import annotations

import datetime
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from config.celery import app
from portal.core import places
from portal.operations import reaper, worker
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.runtime.compose import ComposeRuntime
from portal.stacks.models import Release
from portal.stacks.pending import pending_change, pending_drop
from portal.stacks.releases import kept_images
from portal.stacks.services import stack_ensure, stack_started
from tests.support import deploy_scene, servers, tiny_stack
from tests.support.deploy_scene import PROJECT, Deployed, portal_worker
from tests.support.docker_engine import Engine
from tests.support.faultpoints import Recorded, arm, chosen, disarm
from tests.support.servers import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.django_db(transaction=True), pytest.mark.timeout(550)]

TARGET = f"stack:{PROJECT}"


@pytest.fixture
def deployed(
    engine: Engine,
    settings: Settings,
    valkey_server: servers.Valkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployed]:
    """The stack with release 1, healthy."""
    tiny_stack.build_image(engine)
    settings.VAR_DIR, settings.RUNTIME = tmp_path, "compose"
    settings.VALKEY_URL = app.conf["broker_url"] = valkey_server.url
    settings.OPERATION_HEARTBEAT_SECONDS, settings.OPERATION_STALE_SECONDS = 0.2, 1.0
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    monkeypatch.setenv("DOCKER_CONFIG", str(engine.config))
    deploy_scene.see_from_this_host()
    deploy_scene.write_files(tmp_path)
    runtime = places.runtime()
    assert isinstance(runtime, ComposeRuntime)
    found = Deployed(engine, runtime, tmp_path)
    spec = places.stack_spec(PROJECT).derive(base_port=servers.free_port())
    try:
        runtime.apply(spec)
        stack_ensure(name=PROJECT, runtime="compose")
        stack_started(PROJECT)
        yield found
    finally:
        runtime.remove(spec, data=True)
        runtime.let_images_go([name for release in Release.objects.all() for name in kept_images(release)])


def deploy(**values: str) -> Operation:
    pending_change(stack=PROJECT, values=values)
    operation = operation_start(kind="stack.deploy", target=TARGET)
    worker.execute(operation.pk)
    operation.refresh_from_db()
    return operation


def rolled_back_to(number: int) -> Operation:
    operation = operation_start(kind="stack.rollback", target=TARGET, params={"release": number})
    worker.execute(operation.pk)
    operation.refresh_from_db()
    return operation


def states() -> dict[int, str]:
    return {release.number: release.state for release in Release.objects.order_by("number")}


def healthy(deployed: Deployed) -> bool:
    return {str(status.state) for status in deployed.runtime.status(deployed.spec)} == {"healthy"}


def test_a_deploy_replaces_what_changed_and_then_there_is_nothing_to_do(deployed: Deployed) -> None:
    before = deployed.containers("front")
    operation = deploy(GREETING="good morning")
    assert operation.state == State.SUCCEEDED, operation.error
    assert operation.result["changes"] == {"api": "recreate", "front": "recreate"}
    assert deployed.greeting() == "good morning"
    assert deployed.containers("front") != before
    look = operation_start(kind="stack.plan", target=TARGET)
    worker.execute(look.pk)
    look.refresh_from_db()
    assert look.result["plan"]["nothing"] is True
    image = Release.objects.get(number=2).images["api"]
    assert image["reference"] == tiny_stack.IMAGE
    assert image["id"].startswith("sha256:")
    assert operation.result["canary"] == {"hits": 2, "documents": 2}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"FRONT_MODE": "crash"}, "service_failed"),
        ({"FRONT_MODE": "never"}, "service_failed"),
        ({"API_MODE": "mute"}, "canary_failed"),
        ({"FRONT_IMAGE": "ragkeep/nowhere:1"}, "image_missing"),
        ({"NUMBER": "seven"}, "service_failed"),
    ],
    ids=["crashes", "never healthy", "healthy but failing the canary", "image missing", "bad environment"],
)
def test_a_broken_release_leaves_the_old_one_serving(
    deployed: Deployed, wrong: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.stacks.gate.ASK_SECONDS", 2.0)
    front = deployed.containers("front")
    operation = deploy(**wrong)
    assert (operation.state, operation.error["code"]) == (State.FAILED, code)
    assert healthy(deployed)
    assert deployed.greeting() == "hello"
    assert deployed.containers("front") == front, "what was replaced beside the old one never touched it"
    assert len(deployed.containers()) == 2, "a container was left behind"
    assert states()[1] == "current"
    assert set(states().values()) <= {"current", "failed"}
    pending_drop(stack=PROJECT)
    again = deploy(GREETING="good evening")
    assert again.state == State.SUCCEEDED, again.error
    assert deployed.greeting() == "good evening"


def test_a_roll_back_runs_the_image_of_that_time_though_its_name_means_another_by_now(deployed: Deployed) -> None:
    first = Release.objects.get(number=1).images["front"]["id"]
    deployed.engine.docker("commit", "--message", "another", deployed.containers("front")[0], "ragkeep/tiny-moving:1")
    try:
        assert deploy(FRONT_IMAGE="ragkeep/tiny-moving:1").state == State.SUCCEEDED
        moving = Release.objects.get(number=2).images["front"]["id"]
        assert moving != first
        deployed.engine.docker("tag", tiny_stack.IMAGE, "ragkeep/tiny-moving:1")
        assert deploy(GREETING="later").state == State.SUCCEEDED
        assert deployed.engine.image_id(f"ragkeep/kept:{PROJECT}-front-2") == moving
        operation = rolled_back_to(2)
        assert operation.state == State.SUCCEEDED, operation.error
        (container,) = deployed.containers("front")
        assert deployed.engine.docker("inspect", "--format", "{{.Image}}", container).stdout.strip() == moving
        assert deployed.greeting() == "hello"
        assert states() == {1: "kept", 2: "kept", 3: "kept", 4: "current"}
    finally:
        deployed.engine.docker("rmi", "ragkeep/tiny-moving:1", check=False)


@pytest.mark.timeout(1800)
def test_a_worker_killed_at_any_step_of_a_deploy_needs_nobody(
    deployed: Deployed, subtests: pytest.Subtests, pytestconfig: pytest.Config
) -> None:
    (deployed.var / "faults").mkdir()
    with Recorded(deployed.var) as recorded:
        pending_change(stack=PROJECT, values={"GREETING": "recorded"})
        first = operation_start(kind="stack.deploy", target=TARGET)
        with portal_worker(str(first.pk), deployed.var, deployed.engine) as running:
            assert running.wait(timeout=120) == 0, running.stderr
    points = [point for point in recorded.points if point.startswith("worker.stack.deploy.")]
    assert len(points) == 18, points
    today = datetime.date.today().toordinal()
    for number, point in enumerate(chosen(points, str(pytestconfig.getoption("--kills")), today)):
        with subtests.test(point):
            _killed_at(deployed, point, f"greeting-{number}")


def _killed_at(deployed: Deployed, point: str, greeting: str) -> None:
    reached = arm(deployed.var, point)
    pending_change(stack=PROJECT, values={"GREETING": greeting})
    operation = operation_start(kind="stack.deploy", target=TARGET)
    with portal_worker(str(operation.pk), deployed.var, deployed.engine) as running:
        wait_until(reached.exists, what=point, seconds=120)
        os.kill(running.pid, signal.SIGKILL)
        running.wait(timeout=10)
    disarm(deployed.var)
    wait_until(lambda: reaper.reap() == 1, what="the reaper", seconds=20)
    worker.execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED, operation.error
    assert healthy(deployed)
    assert deployed.greeting() == greeting
    assert deployed.environment("front")["GREETING"] == greeting
    assert len(deployed.containers()) == 2, "an orphan"
    assert list(states().values()).count("current") == 1
    assert "candidate" not in states().values()


def test_a_secret_that_changed_since_is_brought_in_once(deployed: Deployed) -> None:
    before = deployed.containers("api")
    (deployed.var / "stacks" / PROJECT / "secrets" / "internal_token").write_text("another\n")
    ids = []
    for _ in range(2):
        operation = operation_start(kind="stack.start", target=TARGET)
        worker.execute(operation.pk)
        ids.append(deployed.containers("api"))
    assert ids[0] != before
    assert ids[1] == ids[0]
