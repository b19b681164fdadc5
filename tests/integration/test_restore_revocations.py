"""Access taken away after a set stays away when the set is restored: the service's own schema, real dumps."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from backups import process
from backups.errors import FencedOff
from backups.journal import Context, Fence, Journal
from backups.restore.database import DatabaseNames
from backups.restore.jobs import JOBS
from backups.restore.revocations import carry_over
from tests.support import rag_service, servers
from tests.support.restorable import SmallStack, back_up

pytestmark = pytest.mark.integration

REVOKED_AT = "2026-03-01 12:00:00+00"


@dataclass
class Service(SmallStack):
    """A stack whose database has the schema of the RAG service, with accounts and keys instead of documents."""

    @property
    def staging(self) -> str:
        return f"{self.database}_staging_{self.operation[:8]}"

    def migrate(self) -> None:
        """Make the database as the api's start does."""
        rag_service.migrate(self)

    def add_people(self) -> None:
        """Two accounts with two keys each, named after them."""
        with self.server.connect(self.database) as connection:
            for name in ("ann", "bob"):
                connection.execute(
                    "INSERT INTO users (email, name, password_hash) VALUES (%s, %s, '')", (f"{name}@example.org", name)
                )
                connection.execute(
                    "INSERT INTO api_keys (user_id, name, prefix, key_hash)"
                    " SELECT id, name || number, '', sha256((name || number)::bytea)"
                    " FROM users, generate_series(1, 2) AS number WHERE name = %s",
                    (name,),
                )

    def revoke(self) -> None:
        """What an administrator does after the set: revoke one key, switch off one account."""
        self.change("UPDATE api_keys SET revoked_at = %s WHERE name = 'ann1'", REVOKED_AT)
        self.change("UPDATE users SET active = false WHERE name = 'bob'")

    def change(self, statement: str, *values: object) -> None:
        with self.server.connect(self.database) as connection:
            connection.execute(statement.encode(), values)

    def one(self, statement: str, *values: object) -> Any:  # noqa: ANN401 - a column's value
        with self.server.connect(self.database) as connection:
            row = connection.execute(statement.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def access(self) -> dict[str, bool]:
        """Account or key -> whether it is let in, by the columns that the service's sign-in asks."""
        with self.server.connect(self.database) as connection:
            return dict(
                connection.execute(
                    "SELECT name, active FROM users UNION ALL SELECT name, revoked_at IS NULL FROM api_keys"
                ).fetchall()
            )

    def perform(self, kind: str, *, set_id: str | None = None, **options: bool) -> Outcome:
        """Carry out one job in this process."""
        job, out = self.job(kind, set_id=set_id, **options), io.StringIO()
        job.work.mkdir(parents=True, exist_ok=True)
        result = JOBS[kind](job, Context(Journal(out), Fence(job.fence, job.attempt)))
        return Outcome(result, [json.loads(line) for line in out.getvalue().splitlines()])


@dataclass
class Outcome:
    """What a job answered, and the lines it wrote."""

    result: dict[str, Any]
    lines: list[dict[str, Any]]

    @property
    def warnings(self) -> list[str]:
        return [line["message"] for line in self.lines if line["type"] == "log" and line["level"] == "warning"]

    @property
    def step(self) -> dict[str, Any]:
        (data,) = [line["data"] for line in self.lines if line["type"] == "step" and line["state"] == "done"]
        return dict(data)


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[Service]:
    """A migrated service in which everybody is let in, and its set staged."""
    service = Service(tmp_path_factory.mktemp("revocations"), postgres_server, f"rag_{uuid4().hex[:6]}")
    service.create()
    service.fill(documents=1, chunks=1)
    service.server.drop(service.database)
    service.migrate()
    service.add_people()
    service.perform("stage", set_id=back_up(service))
    yield service
    service.perform("discard")
    service.server.drop(service.database)


@pytest.fixture
def service(staged: Service, tmp_path: Path) -> Iterator[Service]:
    """A copy of it with databases of its own, so that every test has its own exchange."""
    shutil.copytree(staged.root, tmp_path / "stack")
    copy = Service(tmp_path / "stack", staged.postgres, f"rag_{uuid4().hex[:6]}", operation=staged.operation)
    with copy.server.connect() as connection:
        for source, name in ((staged.database, copy.database), (staged.staging, copy.staging)):
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"'.encode())
    yield copy
    for name in copy.server.oids():
        if name.startswith(copy.database):
            copy.server.drop(name)


EVERYBODY = {"ann": True, "bob": True, "ann1": True, "ann2": True, "bob1": True, "bob2": True}
WITHOUT_REVOKED = {**EVERYBODY, "bob": False, "ann1": False}


def test_what_was_revoked_since_the_set_stays_revoked(service: Service) -> None:
    service.revoke()
    service.change(
        "INSERT INTO users (email, name, password_hash, active) VALUES ('new@example.org', 'new', '', false)"
    )
    before = {**WITHOUT_REVOKED, "new": False}
    swapped = service.perform("swap")
    assert service.access() == WITHOUT_REVOKED
    assert (swapped.result["revocations"], swapped.step["revocations"], swapped.warnings) == (2, 2, [])
    assert service.one("SELECT revoked_at = %s FROM api_keys WHERE name = 'ann1'", REVOKED_AT)

    service.perform("unswap")
    assert service.access() == before, "what was live is only read"


def test_a_set_that_is_not_older_than_the_revocations_is_not_changed(service: Service) -> None:
    swapped = service.perform("swap")
    assert service.access() == EVERYBODY
    assert (swapped.result["revocations"], swapped.warnings) == (0, [])


def test_a_swap_can_be_repeated_before_and_after_an_undo(service: Service) -> None:
    service.revoke()
    service.perform("swap")
    again = service.perform("swap")
    assert (service.access(), again.result["revocations"], again.warnings) == (WITHOUT_REVOKED, 0, [])
    kept = service.one("SELECT datallowconn FROM pg_database WHERE datname LIKE %s", f"{service.database}_kept_%")
    assert kept is False, "the kept database is closed again"

    service.perform("unswap")
    service.change("UPDATE api_keys SET revoked_at = now() WHERE name = 'bob2'")
    later = service.perform("swap")
    assert (later.result["revocations"], later.warnings) == (1, [])
    assert service.access() == {**WITHOUT_REVOKED, "bob2": False}


def test_revocations_of_the_kept_data_are_made_up_for_after_the_exchange(service: Service) -> None:
    service.revoke()
    service.perform("swap", revocations=False)
    assert service.access() == EVERYBODY
    swapped = service.perform("swap")
    assert (service.access(), swapped.result["revocations"]) == (WITHOUT_REVOKED, 2)


def test_a_swap_that_is_repeated_after_the_databases_were_closed_reads_them(service: Service) -> None:
    service.revoke()
    with service.server.connect() as connection:
        connection.execute(f'ALTER DATABASE "{service.database}" ALLOW_CONNECTIONS false'.encode())
    swapped = service.perform("swap")
    assert (service.access(), swapped.warnings) == (WITHOUT_REVOKED, [])


def test_a_drill_looks_for_nothing_live(service: Service) -> None:
    service.server.drop(service.database)
    swapped = service.perform("swap", revocations=False)
    assert swapped.warnings == []
    assert "revocations" not in swapped.result


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("DROP VIEW backup_revocations", "too old to list them"),
        ("DROP SCHEMA public CASCADE", "too old to list them"),
        (
            "CREATE OR REPLACE VIEW backup_revocations AS"
            " SELECT name AS kind, (1 / (length(name) - length(name)))::text AS id, now() AS revoked_at FROM users",
            "division by zero",
        ),
    ],
)
def test_live_data_that_cannot_be_read_is_named_and_does_not_stop_a_restore(
    service: Service, damage: str, reason: str
) -> None:
    service.revoke()
    service.change(damage)
    swapped = service.perform("swap")
    assert service.access() == EVERYBODY
    assert swapped.result["revocations"] == 0
    (warning,) = swapped.warnings
    assert reason in warning
    assert "Check the API keys and accounts" in warning


def test_live_data_that_is_gone_is_named_and_does_not_stop_a_restore(service: Service) -> None:
    service.server.drop(service.database)
    swapped = service.perform("swap")
    assert service.access() == EVERYBODY
    (warning,) = swapped.warnings
    assert f"there is no database {service.database} " in warning


def test_a_set_that_cannot_take_revocations_is_named_with_them(service: Service) -> None:
    service.revoke()
    with service.server.connect(service.staging) as connection:
        connection.execute("DROP FUNCTION backup_revoke")
    key = service.one("SELECT id FROM api_keys WHERE name = 'ann1'")
    swapped = service.perform("swap")
    assert service.access() == EVERYBODY
    (warning,) = swapped.warnings
    assert f"api_key {key}" in warning


def test_a_row_that_cannot_be_applied_leaves_the_set_as_it_is(service: Service) -> None:
    service.revoke()
    with service.server.connect(service.staging) as connection:
        connection.execute("ALTER TABLE api_keys ADD CHECK (revoked_at IS NULL)")
    swapped = service.perform("swap")
    assert service.access() == EVERYBODY, "both or none"
    assert "check constraint" in swapped.warnings[0]


def test_an_attempt_that_is_superseded_after_reading_revokes_nothing(service: Service) -> None:
    service.revoke()

    def fenced_off() -> None:
        raise FencedOff("a newer attempt owns the operation")

    with pytest.raises(FencedOff):
        carry_over(service.server, DatabaseNames(service.database, service.operation), fenced_off, pytest.fail)
    service.perform("swap", revocations=False)
    assert service.access() == EVERYBODY


def test_finish_by_hand_carries_over_what_was_revoked_after_an_undo(service: Service) -> None:
    service.perform("swap")
    service.perform("unswap")
    service.revoke()
    said = process.run([
        sys.executable, "-m", "backups", "finish", "--operation", service.operation,
        "--volumes", str(service.root / "volumes"), "--password-file", str(service.root / "secrets" / "postgres"),
        "--port", str(service.postgres.port), "--database", service.database,
    ], cwd=servers.REPO)  # fmt: skip
    assert "is live" in said.stdout
    assert service.access() == WITHOUT_REVOKED


def test_the_view_lists_and_the_function_revokes_once(service: Service) -> None:
    service.revoke()
    with service.server.connect(service.database) as connection:
        ids = dict(
            connection.execute(
                "SELECT name, id::text FROM users UNION ALL SELECT name, id::text FROM api_keys"
            ).fetchall()
        )
    with service.server.connect(service.database) as connection:
        listed = connection.execute(
            "SELECT kind, id, revoked_at = %s FROM backup_revocations ORDER BY kind", (REVOKED_AT,)
        )
        assert listed.fetchall() == [("account", ids["bob"], False), ("api_key", ids["ann1"], True)]

        connection.execute("SET search_path = pg_catalog")
        for kind, name, first in (("account", "ann", True), ("api_key", "bob2", True), ("api_key", "ann1", False)):
            assert revoked(connection, kind, ids[name]) is first
            assert revoked(connection, kind, ids[name]) is False
        for kind, identity in (
            ("account", ids["bob1"]),
            ("api_key", str(uuid4())),
            ("team", ids["bob1"]),
            ("account", "x"),
        ):
            assert revoked(connection, kind, identity) is False
    assert service.access() == {**WITHOUT_REVOKED, "ann": False, "bob2": False}
    assert service.one("SELECT revoked_at = %s FROM api_keys WHERE name = 'ann1'", REVOKED_AT), "the first time counts"


def revoked(connection: psycopg.Connection, kind: str, identity: str) -> object:
    row = connection.execute("SELECT public.backup_revoke(%s, %s, now())", (kind, identity)).fetchone()
    assert row is not None
    return row[0]
