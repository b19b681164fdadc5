"""The portal as a source of sets, its way back, and its rows on another machine; other hands' repositories adopted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from pytest_django import Settings

from backups import process
from backups.errors import ManifestInvalid
from backups.fields import Fields
from backups.job import RepositoryPlace
from backups.place import PlaceOptions
from backups.repository import Repository as Restic
from backups.restore import portal as portal_part
from backups.restore import sets
from backups.restore.database import Server
from backups.restore.errors import SetDamaged
from backups.restore.portal import PortalPart
from backups.secret import Secret
from backups.sources.portal import Facts, PortalSource
from config.cli.recovery_place import kept_place
from portal.alarms.models import Channel
from portal.operations.models import Claim, Mode, Operation, State
from portal.operations.worker import execute
from portal.vaults.models import HELD, BackupSet, Plan, Repository, Restore, RestoreState
from portal.vaults.portalsource import portal_source
from portal.vaults.recover import Arrival, portal_settle, schema_update
from portal.vaults.repositories import repository_add
from tests.support import portal_web, servers
from tests.support.vault import Stock, Vault, stocked, vault

__all__ = ["stocked", "vault"]
pytestmark = pytest.mark.integration

TABLES = """
CREATE TABLE auth_user (id int PRIMARY KEY, username text, password text);
CREATE TABLE django_session (session_key text PRIMARY KEY, session_data text);
CREATE TABLE "Odd name" (id int);
INSERT INTO auth_user VALUES (1, 'ada@example.org', 'argon2$...'), (2, 'bob@example.org', 'argon2$...');
INSERT INTO django_session VALUES ('cookie', 'somebody');
INSERT INTO "Odd name" VALUES (1);
"""


def portal_place(root: Path, server: servers.Postgres) -> Fields:
    """A portal with three accounts' rows, two secrets of its own and some of others'."""
    database = server.create_database("portal")
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        connection.execute(TABLES.encode())
    secrets = root / "control" / "secrets"
    (secrets / "repositories").mkdir(parents=True)
    for name in ("postgres_password", "valkey_password", "django_secret_key", "repository_password"):
        (secrets / name).write_text(f"{name}\n")
    (secrets / "postgres").write_text(server.password + "\n")
    (secrets / "repositories" / "nas.env").write_text("AWS_ACCESS_KEY_ID=k\n")
    (root / "id_ed25519").write_text("a private key\n")
    value = {
        "postgres": {
            "host": server.host, "port": server.port, "user": server.user, "database": database,
            "password_file": str(secrets / "postgres"),
        },
        "secrets": str(secrets), "var": str(root),
        "files": [str(root / "id_ed25519"), str(secrets / "repository_password"), str(root / "gone")],
    }  # fmt: skip
    return Fields(value, "portal")


def staged(fields: Fields, folder: Path) -> PortalPart:
    source = PortalSource(fields, servers.PG_BIN)
    assert source.check() > 0
    folder.mkdir()
    source.prepare(folder)
    source.freeze()
    source.dump(folder)
    part = source.verify(folder)
    source.close()
    assert part.details["tables"]["public.auth_user"] == 2
    return PortalPart(folder, Facts.from_json((folder / "portal.json").read_text()))


def test_the_portal_is_staged_without_what_would_let_somebody_in(
    postgres_server: servers.Postgres, tmp_path: Path
) -> None:
    part = staged(portal_place(tmp_path, postgres_server), tmp_path / "staged")
    kept = {name: path for name, path, _ in part.secrets()}
    assert set(kept) - {f"elsewhere/{tmp_path.as_posix().strip('/').replace('/', '_')}_id_ed25519"} == {
        "postgres", "repository_password", "repositories/nas.env",
    }  # fmt: skip
    assert str(tmp_path / "id_ed25519") in kept.values()
    assert {file.stat().st_mode & 0o777 for _, _, file in part.secrets()} == {0o600}
    dumped = process.run([servers.PG_BIN / "pg_restore", "--file=-", part.dump]).stdout
    assert "ada@example.org" in dumped
    assert "somebody" not in dumped


def test_its_database_takes_the_place_of_another_at_once(postgres_server: servers.Postgres, tmp_path: Path) -> None:
    part = staged(portal_place(tmp_path, postgres_server), tmp_path / "staged")
    target = postgres_server.create_database("fresh")
    server = Server(postgres_server.host, postgres_server.port, postgres_server.user, Secret(postgres_server.password))
    server.create(f"{target}_staging_left")  # by an attempt that was killed
    for _ in range(2):
        counted = portal_part.put_in_place(part, servers.PG_BIN, server, target)
        assert counted['public."Odd name"'] == 1
        assert [name for name in server.oids() if name.startswith(f"{target}_")] == []
    with server.connect(target) as connection:
        assert connection.execute("SELECT count(*) FROM auth_user").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM django_session").fetchone() == (0,)


def test_a_dump_that_lacks_rows_is_never_put_in_place(postgres_server: servers.Postgres, tmp_path: Path) -> None:
    part = staged(portal_place(tmp_path, postgres_server), tmp_path / "staged")
    more = Facts(part.facts.var, part.facts.taken_at, part.facts.files, {**part.facts.tables, "public.auth_user": 3})
    target = postgres_server.create_database("fresh")
    server = Server(postgres_server.host, postgres_server.port, postgres_server.user, Secret(postgres_server.password))
    with pytest.raises(SetDamaged, match="auth_user"):
        portal_part.put_in_place(PortalPart(part.folder, more), servers.PG_BIN, server, target)
    with server.connect(target) as connection:
        assert connection.execute("SELECT to_regclass('auth_user')").fetchone() == (None,)


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "/etc/passwd"])
def test_a_secret_never_leads_out_of_its_folder(name: str) -> None:
    facts = {"format": 1, "var": "/v", "taken_at": "2026-01-31T00:00:00+00:00", "tables": {}}
    with pytest.raises(ManifestInvalid, match=r"portal\.files"):
        Facts.from_json(json.dumps({**facts, "files": [{"name": name, "path": "/v/x"}]}))
    with pytest.raises(ManifestInvalid, match="newer Ragkeep"):
        Facts.from_json(json.dumps({**facts, "format": 2, "files": []}))


def arrival(vault: Vault, stock: Stock, *, old_var: str, files: dict[str, str]) -> Arrival:
    place = RepositoryPlace(stock.restic_id, str(stock.folder), stock.folder.with_name("password"))
    found = sets.find_set(Restic(place, servers.RESTIC, vault.root / "cache"), "latest")
    (vault.root / "given").write_text("an authority\n")
    place = replace(place, options=PlaceOptions(region="eu-1", ca_file=vault.root / "given"))
    return Arrival(found, kept_place(place, vault.root / "control/secrets", "default"), old_var, files)


@pytest.mark.django_db
def test_restored_rows_become_true_on_the_new_machine(vault: Vault, stocked: Stock, settings: Settings) -> None:
    old, here = "/old/var", str(settings.VAR_DIR)
    used = portal_web.rows(vault.root)
    row = used.good.repository
    Repository.objects.filter(pk=row.pk).update(
        restic_id=stocked.restic_id, url=f"{old}/repositories/default", options={"port": 22, "ca_file": "/old/ca"}
    )
    Repository.objects.create(
        name="nas", url="sftp:nas:/r", password_file=f"{old}/control/secrets/repositories/nas.password",
        options={"key_file": "/home/ada/id", "port": 22}, restic_id="f" * 64,
    )  # fmt: skip
    Repository.objects.create(name="beside", url=f"{old}/repositories/beside", password_file="/root/key")
    Channel.objects.create(name="chat", url_file=f"{old}/control/secrets/channels/chat.url")
    Plan.objects.update(ping_url_file=f"{old}/control/secrets/plans/nightly.ping")
    Session.objects.create(session_key="x", session_data="x", expire_date=timezone.now())
    running = portal_web.operation("prune", State.RUNNING)
    Claim.objects.create(operation=running, scope="repository:default", mode=Mode.EXCLUSIVE)
    moved = {"/home/ada/id": f"{here}/control/secrets/elsewhere/home_ada_id"}
    came = arrival(vault, stocked, old_var=old, files=moved)
    for _ in range(2):  # interrupted after the first time
        settled = portal_settle(arrival=came)
        assert (settled["repository"], settled["plans_held"], settled["unreachable"]) == ("default", 1, ["beside"])
    row.refresh_from_db()
    assert (row.url, row.password_file) == (str(stocked.folder), str(came.place.password_file))
    assert row.options == {"region": "eu-1", "ca_file": f"{here}/control/secrets/repositories/default.ca"}
    assert Path(row.options["ca_file"]).read_text() == "an authority\n"
    nas = Repository.objects.get(name="nas")
    assert nas.password_file == f"{here}/control/secrets/repositories/nas.password"
    assert nas.options == {"key_file": moved["/home/ada/id"], "port": 22}
    assert Repository.objects.get(name="beside").url == f"{here}/repositories/beside"
    assert Repository.objects.get(name="beside").password_file == "/root/key"
    assert Channel.objects.get(name="chat").url_file == f"{here}/control/secrets/channels/chat.url"
    plan = Plan.objects.get()
    assert (plan.ping_url_file, plan.paused_until) == (f"{here}/control/secrets/plans/nightly.ping", HELD)
    assert Session.objects.count() == 0
    running.refresh_from_db()
    assert (running.state, running.error["code"], Claim.objects.count()) == (State.LOST, "machine_gone", 0)
    assert Restore.objects.get().state == RestoreState.CONFIRMED
    came_from = BackupSet.objects.get(pk=stocked.sets[-1][0])
    assert (came_from.repository, came_from.snapshot_id) == (row, stocked.sets[-1][2])


@pytest.mark.django_db
def test_the_backup_that_made_the_set_did_succeed(vault: Vault, stocked: Stock) -> None:
    came = arrival(vault, stocked, old_var="", files={})
    portal_web.rows(vault.root)
    made = Operation.objects.create(
        pk=came.found.manifest.operation, kind="backup", target="stack:rag", state=State.RUNNING, join_key="x"
    )
    portal_settle(arrival=came)
    made.refresh_from_db()
    assert made.state == State.SUCCEEDED
    assert BackupSet.objects.get(pk=came.found.manifest.set_id).operation == made


@pytest.mark.django_db
def test_a_portal_of_a_newer_version_is_refused(vault: Vault) -> None:
    from django.db import connection

    from portal.operations.errors import OperationRefused

    schema_update()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('vaults', '9999_later', now())")
    with pytest.raises(OperationRefused, match="newer Ragkeep") as refused:
        schema_update()
    assert refused.value.code == "portal_too_new"


@pytest.mark.django_db
def test_every_file_that_a_row_names_is_in_the_job(vault: Vault, settings: Settings) -> None:
    Repository.objects.create(
        name="a", url="s3:x", password_file="/p", credentials_file="/c", options={"ca_file": "/o"}
    )
    Channel.objects.create(name="mail", url_file="/u")
    job = portal_source()
    assert job["files"] == ["/c", "/o", "/p", "/u"]
    assert job["secrets"] == f"{settings.VAR_DIR}/control/secrets"


@pytest.mark.django_db(transaction=True)
def test_a_blank_portal_adopts_what_plain_restic_copied_into_the_old_format(
    vault: Vault, stocked: Stock, tmp_path: Path
) -> None:
    old, key = tmp_path / "old", stocked.folder.with_name("password")
    env = {"RESTIC_REPOSITORY": str(old), "RESTIC_PASSWORD_FILE": str(key), "RESTIC_CACHE_DIR": str(tmp_path / "c")}
    env |= {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    origin = ["--from-repo", str(stocked.folder), "--from-password-file", str(key)]
    process.run([servers.RESTIC, "init", "--repository-version", "1", *origin, "--copy-chunker-params"], env=env)
    process.run([servers.RESTIC, "copy", *origin], env=env)
    process.run([servers.RESTIC, "backup", "--host", "laptop", str(key)], env=env)
    config = json.loads(process.run([servers.RESTIC, "cat", "config"], env=env).stdout)
    assert config["version"] == 1
    added = repository_add(name="old", url=str(old), password=Secret.from_file(key))
    assert added.adopting is not None
    execute(added.adopting.pk)
    assert set(BackupSet.objects.values_list("pk", flat=True)) == {one[0] for one in stocked.sets}
    assert added.repository.foreign_snapshots.get().host == "laptop"
    after = json.loads(process.run([servers.RESTIC, "cat", "config"], env=env).stdout)
    assert after == config, "adopted, not made anew"
