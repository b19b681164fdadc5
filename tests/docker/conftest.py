"""One engine for every test of this tier, one set of images, and one stack that is up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import docker_engine, docker_stack
from tests.support.docker_engine import Engine
from tests.support.docker_product import DockerProduct, docker_installation
from tests.support.docker_stack import DockerStack

# Started once for everybody, and dear.
SHARED = ("product", "stack")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those that share an installation run one after the other, as do those of a file."""
    for item in items:
        if isinstance(item, pytest.Function):
            item.add_marker(pytest.mark.xdist_group(_shared(item) or item.path.name))


def _shared(test: pytest.Function) -> str | None:
    known = test._fixtureinfo.name2fixturedefs  # pytest has no public name for it
    return next((name for name in SHARED if name in known and known[name][-1].scope == "session"), None)


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
