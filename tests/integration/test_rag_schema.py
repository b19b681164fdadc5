"""What a program of yesterday does with the schema of tomorrow: serve where that says it may, else say why not."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from rag_api.migrate import SchemaTooNewError, migrate
from rag_api.schema import NOTE, newest_revision, oldest_code
from tests.support import servers
from tests.support.rag_stack import RagStack, rag_stack

pytestmark = pytest.mark.integration

NEWER = "9999"


@pytest.fixture(scope="module")
def rag(
    postgres_server: servers.Postgres,
    valkey_server: servers.Valkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RagStack]:
    root, nobody = tmp_path_factory.mktemp("rag"), "http://127.0.0.1:9"
    with rag_stack(root, postgres_server, valkey_server, nobody, nobody) as stack:
        yield stack


@pytest.fixture(autouse=True)
def as_it_was(rag: RagStack) -> Iterator[None]:
    yield
    with rag.connect() as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [newest_revision()])
    migrate(rag.settings)


def made_by_a_newer_program(rag: RagStack, note: str) -> None:
    with rag.connect() as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [NEWER])
        connection.execute(f"COMMENT ON TABLE alembic_version IS '{note}'".encode())


def postgres_state(rag: RagStack) -> str:
    found: str = httpx.get(f"{rag.api_url}/ready").json()["dependencies"]["postgres"]
    return found


def told(rag: RagStack) -> dict[str, str]:
    token = rag.settings.internal_token.reveal()
    answer = httpx.get(f"{rag.api_url}/internal/schema", headers={"Authorization": f"Bearer {token}"})
    found: dict[str, str] = answer.raise_for_status().json()
    return found


def test_a_migrated_database_says_which_code_it_takes(rag: RagStack) -> None:
    assert told(rag) == {"code": newest_revision(), "database": newest_revision(), "oldest": oldest_code()}
    assert postgres_state(rag) == "ok"


def test_a_newer_schema_that_only_expanded_is_served_and_left_alone(rag: RagStack) -> None:
    made_by_a_newer_program(rag, f"{NOTE}{newest_revision()}")
    assert migrate(rag.settings) == NEWER
    assert postgres_state(rag) == "ok"
    assert told(rag) == {"code": newest_revision(), "database": NEWER, "oldest": newest_revision()}


@pytest.mark.parametrize("note", [f"{NOTE}{NEWER}", "something else"])
def test_a_newer_schema_that_needs_newer_code_is_refused_with_what_to_do(rag: RagStack, note: str) -> None:
    made_by_a_newer_program(rag, note)
    with pytest.raises(SchemaTooNewError, match=f"needs code of {NEWER} or later.* restore a set"):
        migrate(rag.settings)
    assert "another version" in postgres_state(rag)
