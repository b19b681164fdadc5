"""The page of sources: every role, adding, trying and removing, with the real agent and real places."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from backups.secret import Secret
from portal.core import places
from portal.core.models import AuditEntry
from portal.operations.errors import InputInvalid, OperationRefused
from portal.runtime.state import settle, write_state
from portal.vaults import jobs
from portal.vaults.models import ExtraSource, Plan, SourceKind
from portal.vaults.sources import source_add, source_remove
from tests.support import portal_web, servers

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture
def seen(
    settings: Settings, tmp_path: Path, valkey_server: servers.Valkey, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Client]:
    settings.VAR_DIR = tmp_path / "var"
    settings.VALKEY_URL = valkey_server.url
    (tmp_path / "var/repository").mkdir(parents=True)
    monkeypatch.setattr(jobs, "_tool", lambda name: servers.RESTIC if name == "restic" else servers.PG_BIN / name)
    spec = places.stack_spec("rag")
    write_state(places.runtime().paths.root("rag"), settle(spec, None))
    portal_web.rows(tmp_path / "var/repository")
    ExtraSource.objects.all().delete()
    return portal_web.clients()


def folder(tmp_path: Path, name: str = "wiki") -> Path:
    path = tmp_path / name
    path.mkdir()
    (path / "page").write_text("a page")
    return path


def test_readers_see_every_source_and_may_change_none(seen: dict[str, Client], tmp_path: Path) -> None:
    text = seen["reader"].get("/sources/").content.decode()
    for title in ("Files as people uploaded them", "Chroma", "Plans, accounts and history of this portal"):
        assert title in text
    assert "9.5" in text, "the size that the last good set has of it"
    assert "<form" not in text.partition("<main")[2]
    assert seen["anonymous"].get("/sources/").status_code == 302
    fields = {"kind": "folder", "name": "wiki", "path": str(folder(tmp_path))}
    assert seen["reader"].post("/sources/add/", fields).status_code == 403
    assert not ExtraSource.objects.exists()


def test_an_operator_adds_tries_and_removes_a_folder(seen: dict[str, Client], tmp_path: Path) -> None:
    path = folder(tmp_path)
    fields = {"kind": "folder", "name": "wiki", "path": str(path)}
    refused = seen["operator"].post("/sources/add/", {**fields, "mountpoint": "on"})
    assert refused.status_code == 422
    assert f"Nothing is mounted at {path}" in refused.content.decode()
    assert not ExtraSource.objects.exists()
    assert seen["operator"].post("/sources/add/", fields).headers["Location"] == "/sources/"
    row = ExtraSource.objects.get()
    assert (row.stack, row.kind, row.settings["path"]) == ("rag", SourceKind.FOLDER, str(path))
    assert AuditEntry.objects.filter(action="source.added", actor_name=portal_web.OPERATOR).exists()
    job = jobs.stack_place(places.stack_spec("rag"))
    assert job["extra"] == [
        {"name": "wiki", "kind": "folder", "path": str(path), "mountpoint": False, "may_be_empty": False}
    ]
    assert "as a backup needs it" in seen["operator"].post("/sources/wiki/test/", follow=True).content.decode()
    (path / "page").unlink()
    assert "is empty" in seen["operator"].post("/sources/wiki/test/", follow=True).content.decode()
    kept = seen["operator"].post("/sources/wiki/remove/", {"name": "wik"}, follow=True).content.decode()
    assert "expected the name of the source" in kept
    assert ExtraSource.objects.exists()
    seen["operator"].post("/sources/wiki/remove/", {"name": "wiki"})
    assert not ExtraSource.objects.exists()


def test_a_database_keeps_its_password_in_a_file_of_its_own(
    seen: dict[str, Client], tmp_path: Path, postgres_server: servers.Postgres
) -> None:
    name = postgres_server.create_database("tickets")
    fields = {
        "kind": "postgres", "name": "tickets", "database": name, "host": postgres_server.host,
        "port": str(postgres_server.port), "role": postgres_server.user, "password": "not this one",
    }  # fmt: skip
    wrong = seen["operator"].post("/sources/add/", fields)
    assert (wrong.status_code, ExtraSource.objects.count()) == (422, 0)
    assert "not this one" not in wrong.content.decode()
    kept = tmp_path / "var/control/secrets/sources/rag-tickets.password"
    assert not kept.exists(), "nothing stays of what did not work"
    seen["operator"].post("/sources/add/", {**fields, "password": postgres_server.password})
    row = ExtraSource.objects.get()
    assert row.settings["password_file"] == str(kept)
    assert (kept.stat().st_mode & 0o777, Secret.from_file(kept).reveal()) == (0o600, postgres_server.password)
    assert postgres_server.password not in str(row.settings)
    assert f"{name} on {postgres_server.host}" in seen["reader"].get("/sources/").content.decode()


def test_a_plan_that_names_a_source_keeps_it(seen: dict[str, Client], tmp_path: Path) -> None:
    row = source_add(stack="rag", name="wiki", kind="folder", path=str(folder(tmp_path)))
    Plan.objects.update(sources=["documents", "wiki"])
    with pytest.raises(OperationRefused, match="The plan nightly names the source wiki"):
        source_remove(source=row, confirm="wiki")


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        ("folder", {"path": "srv/wiki"}, "path"),
        ("folder", {"path": "/"}, "path"),
        ("folder", {"path": "{var}"}, "path"),
        ("folder", {"path": "{var}/repository/data"}, "path"),
        ("postgres", {"database": "", "host": "db.example", "role": "", "password": None}, "database"),
        ("postgres", {"database": "rag"}, "database"),
        ("redis", {"host": "a host"}, "host"),
        ("redis", {"host": "", "port": 6379}, "host"),
        ("redis", {"host": "redis.example", "port": 70000}, "port"),
        ("tape", {}, "kind"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_field(
    seen: dict[str, Client], tmp_path: Path, kind: str, values: dict[str, str | int | None], field: str
) -> None:
    given = {n: v.format(var=tmp_path / "var") if isinstance(v, str) else v for n, v in values.items()}
    with pytest.raises(InputInvalid) as raised:
        source_add(stack="rag", name="wiki", kind=kind, **given)  # type: ignore[arg-type]
    assert field in raised.value.fields


@pytest.mark.parametrize("name", ["documents", "portal", "Wiki", "", "a/b", "x" * 41])
def test_a_name_that_is_taken_or_none_is_refused(seen: dict[str, Client], tmp_path: Path, name: str) -> None:
    with pytest.raises(InputInvalid) as raised:
        source_add(stack="rag", name=name, kind="folder", path=str(folder(tmp_path)))
    assert "name" in raised.value.fields
