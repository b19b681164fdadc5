"""A drill's questions from the database, those of an operator, and the word index that a drill builds."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from backups import golden
from backups.job import PostgresServer
from backups.manifest import Golden
from backups.secret import write_secret
from backups.sources import postgres
from portal.core.models import AuditEntry
from portal.operations.errors import InputInvalid
from portal.vaults.golden import question_add, question_list, question_remove, questions_of_drill
from tests.support import servers

pytestmark = pytest.mark.integration

SCHEMA = """
CREATE TABLE passages (document_id text, ordinal int, text text);
CREATE VIEW backup_documents AS SELECT DISTINCT document_id, 'ready' AS state FROM passages;
CREATE VIEW backup_passages AS SELECT * FROM passages;
"""
SHARED = "This document was printed by the library of the institute in spring."


@pytest.fixture
def server(postgres_server: servers.Postgres, tmp_path: Path) -> Iterator[PostgresServer]:
    name = f"golden_{secrets.token_hex(4)}"
    write_secret(tmp_path / "password", postgres_server.password)
    admin = PostgresServer(
        postgres_server.host, postgres_server.port, postgres_server.user, "postgres", tmp_path / "password"
    )
    with postgres.connect(admin, name="test") as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield PostgresServer(admin.host, admin.port, admin.user, name, admin.password_file)
    with postgres.connect(admin, name="test") as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def fill(server: PostgresServer, documents: int) -> None:
    with postgres.connect(server, name="test") as connection:
        connection.execute(SCHEMA.encode())
        for number in range(documents):
            own = f"Machine number {number} in the long hall weaves cloth of the colour called {number} times blue."
            for ordinal, text in enumerate((SHARED, f"{own} Yes.")):
                connection.execute("INSERT INTO passages VALUES (%s, %s, %s)", (f"d{number:03}", ordinal, text))


def chosen(server: PostgresServer) -> list[Golden]:
    with postgres.snapshot(server) as snapshot:
        snapshot.export()
        return golden.choose(snapshot)


def test_questions_are_sentences_of_documents_spread_over_the_set(server: PostgresServer) -> None:
    fill(server, 100)
    found = chosen(server)
    assert len(found) == golden.QUESTIONS
    assert all(len(one.documents) == 1 and one.question.startswith("Machine number") for one in found)
    numbers = sorted(int(one.documents[0][1:]) for one in found)
    assert numbers[0] < 20
    assert numbers[-1] > 80


def test_a_sentence_that_stands_everywhere_is_no_question(server: PostgresServer) -> None:
    fill(server, 6)
    with postgres.connect(server, name="test") as connection:
        connection.execute("DELETE FROM passages WHERE ordinal = 1")
    assert chosen(server) == []


def test_a_service_that_names_no_passages_gives_no_questions(server: PostgresServer) -> None:
    assert chosen(server) == []


def test_percent_signs_and_underscores_are_letters(server: PostgresServer) -> None:
    fill(server, 0)
    odd = "About 100% of the so_called odd sentences here are found letter by letter."
    with postgres.connect(server, name="test") as connection:
        connection.execute("INSERT INTO passages VALUES ('d1', 0, %s)", (odd,))
    assert chosen(server) == [Golden(odd, ("d1",))]


@pytest.mark.django_db
def test_an_operator_s_questions_are_kept_asked_and_removed(settings: Settings) -> None:
    made = question_add(stack="rag", question=" What is wing lift? ", expected=["a.txt", " ", "b.txt "])
    assert questions_of_drill("rag") == [{"question": "What is wing lift?", "documents": ["a.txt", "b.txt"]}]
    assert questions_of_drill("other") == []
    with pytest.raises(InputInvalid, match="already"):
        question_add(stack="rag", question="What is wing lift?")
    question_remove(question=made)
    assert question_list(stack="rag") == []
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"question.added", "question.removed"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("question", "expected", "field"),
    [("  ", [], "question"), ("x" * 2001, [], "question"), ("x", [f"{n}.txt" for n in range(9)], "expected")],
)
def test_a_question_that_cannot_be_asked_is_refused(question: str, expected: list[str], field: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        question_add(stack="rag", question=question, expected=expected)
    assert set(refused.value.fields) == {field}
