"""Fixtures for every tier: one server of each kind a session, started on first use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import models, servers
from tests.support.product import Product, running


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        default="2",
        metavar="N|all|NAME",
        help="at how many steps of each operation to kill, or which; 2 unless told",
    )
    parser.addoption(
        "--cut-seconds", default=3.0, type=float, metavar="N", help="how long the network stays cut; 3 unless told"
    )


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Postgres]:
    with servers.postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Valkey]:
    with servers.valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Chroma]:
    with servers.chroma(tmp_path_factory.mktemp("chroma")) as server:
        yield server


@pytest.fixture(scope="session")
def model_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with models.model_server(tmp_path_factory.mktemp("models") / "live") as url:
        yield url


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_server: servers.Postgres) -> None:
    """Let pytest-django make its database on the real server of this session."""
    from django.conf import settings

    settings.DATABASES["default"].update(
        HOST=postgres_server.host,
        PORT=postgres_server.port,
        USER=postgres_server.user,
        PASSWORD=postgres_server.password,
    )


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """The whole product, started once for every test that needs it; each test leaves it healthy."""
    with running() as started:
        yield started
