"""One engine for every test of this tier, one set of images, and one stack that is up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support import docker_engine, docker_stack
from tests.support.docker_engine import Engine
from tests.support.docker_product import DockerProduct, docker_installation
from tests.support.docker_stack import DockerStack

# What several files use, which is dear to start: their tests run one after the other.
SHARED = {
    "product": ("test_agent_containers.py", "test_journey.py", "test_moves.py", "test_platform.py"),
    "stack": ("test_agent.py", "test_overlays.py", "test_stack_up.py"),
}


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 - xdist has no types
    """Deal out whole files to processes that run side by side, and files that share an installation to one of them."""
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _installation
    return scheduler


def _installation(test: str) -> str:
    file = test.split("::", 1)[0]
    return next((name for name, files in SHARED.items() if file.endswith(files)), file)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    if reason := docker_engine.missing():
        pytest.skip(reason)
    with docker_engine.running() as found:
        yield found


@pytest.fixture(scope="session")
def images(engine: Engine) -> Engine:
    """Every image of the stack, built."""
    docker_stack.build(engine)
    return engine


@pytest.fixture(scope="session")
def product(images: Engine) -> Iterator[DockerProduct]:
    """A whole installation, portal and stack; each test leaves it running."""
    with docker_installation(images) as made:
        made.first = made.up()
        yield made


@pytest.fixture(scope="session")
def stack(images: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerStack]:
    """The whole stack, healthy; each test leaves it so."""
    with docker_stack.started(docker_stack.new_stack(images, tmp_path_factory.mktemp("docker"))) as up:
        yield up
