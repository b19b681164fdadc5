"""Another password for the service's role: the database knows it, and nobody has to say it."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from portal.stacks.rotation import verifier
from rag_api.passwords import NotAVerifierError, PasswordRefusedError, set_verifier
from rag_api.secret import Secret
from rag_api.settings import Settings, load_settings
from tests.support import servers

pytestmark = pytest.mark.integration

OLD, NEW = "the old password", "the new password"


@pytest.fixture
def settings(postgres_server: servers.Postgres, tmp_path: Path) -> Iterator[Settings]:
    """Of a service whose role is its own."""
    role = f"rag_{secrets.token_hex(4)}"
    admin = psycopg.connect(postgres_server.url("postgres"), autocommit=True)
    made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(OLD))
    admin.execute(made)
    file = tmp_path / "secret"
    file.write_text(OLD)
    told = {name: str(file) for name in ("POSTGRES_PASSWORD_FILE", "REDIS_PASSWORD_FILE", "INTERNAL_TOKEN_FILE")}
    url = f"postgresql://{role}@{postgres_server.host}:{postgres_server.port}/postgres"
    others = dict.fromkeys(
        ["REDIS_URL", "VECTORDB_URL", "OLLAMA_URL", "DOCUMENTS_DIR", "INDEX_DIR", "ADMIN_EMAIL"], "x"
    )
    yield load_settings({**others, **told, "ADMIN_PASSWORD_FILE": str(file), "POSTGRES_URL": url})
    admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    admin.close()


def test_the_new_password_counts_and_the_old_one_no_more(settings: Settings) -> None:
    set_verifier(settings, verifier(NEW))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(settings.postgres_conninfo())
    renewed = dataclasses.replace(settings, postgres_password=Secret(NEW))
    psycopg.connect(renewed.postgres_conninfo()).close()
    with pytest.raises(PasswordRefusedError):
        set_verifier(settings, verifier(NEW))


@pytest.mark.parametrize("given", [NEW, "", "SCRAM-SHA-256$4096:x", "md5" + "0" * 32, "SCRAM-SHA-256$1:a$b:c'; --"])
def test_a_password_itself_is_not_taken(settings: Settings, given: str) -> None:
    with pytest.raises(NotAVerifierError):
        set_verifier(settings, given)
    psycopg.connect(settings.postgres_conninfo()).close()
