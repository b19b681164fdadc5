"""The test servers themselves: each answers, and only with its password."""

from __future__ import annotations

import psycopg
import pytest
import redis

from tests.support.servers import Chroma, Postgres, Valkey, http_ok

pytestmark = pytest.mark.integration


def test_postgres_is_version_18_and_refuses_a_wrong_password(postgres_server: Postgres) -> None:
    with psycopg.connect(postgres_server.url("postgres")) as connection:
        assert connection.info.server_version // 10000 == 18
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.url("postgres").replace(postgres_server.password, "wrong"))


def test_valkey_refuses_a_client_without_password(valkey_server: Valkey) -> None:
    assert valkey_server.answers()
    with (
        redis.Redis(host=valkey_server.host, port=valkey_server.port) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_chroma_answers_its_second_api_only(chroma_server: Chroma) -> None:
    assert http_ok(f"{chroma_server.url}/api/v2/heartbeat")
    assert not http_ok(f"{chroma_server.url}/api/v1/heartbeat")
