"""Repositories in the portal: added only when they work, adopted as they are, removed without a loss."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from backups.access import Access
from backups.secret import Secret
from portal.core.models import AuditEntry
from portal.operations import reaper
from portal.operations.context import Context
from portal.operations.errors import OperationError, OperationRefused
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.operations.worker import execute
from portal.vaults import adoption, agent
from portal.vaults.models import BackupSet, Drill, Plan, Repository, Restore, RestoreState, SetCopy, SetState
from portal.vaults.repositories import (
    repository_add,
    repository_adopt,
    repository_remove,
    repository_test,
    repository_update,
)
from portal.vaults.repository_selectors import repository_get, repository_list, repository_summaries
from portal.vaults.selectors import set_last_good
from tests.support import s3_server, sshd
from tests.support.vault import Stock, Vault, stocked, vault

__all__ = ["stocked", "vault"]
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]
KEYS = {"AWS_ACCESS_KEY_ID": s3_server.KEY, "AWS_SECRET_ACCESS_KEY": s3_server.SECRET}


def secret_files(root: Path) -> list[Path]:
    return sorted(path for path in (root / "control/secrets/repositories").rglob("*") if path.is_file())


def adopted(repository: Repository) -> Operation:
    operation = repository_adopt(repository=repository)
    execute(operation.pk)
    operation.refresh_from_db()
    assert operation.state == State.SUCCEEDED, operation.error
    return operation


def test_a_new_repository_is_made_with_a_password_of_its_own(vault: Vault, tmp_path: Path) -> None:
    added = repository_add(name="disk2", url=str(tmp_path / "deep" / "disk2"))
    row = Repository.objects.get(name="disk2")
    assert (added.adopting, len(row.restic_id)) == (None, 64)
    password = Path(row.password_file)
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert len(password.read_text().strip()) > 30
    assert vault.maintenance(row).open() == row.restic_id
    assert AuditEntry.objects.get(action="repository.created").target == "repository:disk2"
    assert repository_test(repository=row)["ok"]
    view = repository_get("disk2")
    assert (view.kind, view.state, view.sets) == ("local", "ready", 0)
    assert view.free is not None
    assert view.free > 0


def test_an_object_store_keeps_its_keys_out_of_rows_and_words(vault: Vault, tmp_path: Path) -> None:
    with s3_server.rclone(tmp_path / "store") as server:
        url = f"{server.store.url}/ragkeep"
        added = repository_add(name="offsite", url=url, access=Access(credentials=KEYS, region="eu-1"))
        row = added.repository
        assert row.options == {"region": "eu-1"}
        assert stat.S_IMODE(Path(row.credentials_file).stat().st_mode) == 0o600
        written = str(Repository.objects.filter(name="offsite").values()) + str(AuditEntry.objects.values_list("data"))
        assert s3_server.SECRET not in written + str(added.report) + str(repository_summaries())
        wrong = Access(credentials={**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"})
        before = secret_files(tmp_path)
        with pytest.raises(OperationRefused) as refused:
            repository_update(repository=Repository.objects.get(name="offsite"), access=wrong)
        assert refused.value.code == "repository_refused"
        assert secret_files(tmp_path) == before
        assert repository_test(repository=Repository.objects.get(name="offsite"))["ok"]
        repository_update(repository=row, access=Access(credentials=KEYS), append_only=True)
        row.refresh_from_db()
        assert row.append_only
        assert [path.name for path in secret_files(tmp_path) if path.parent.name == "removed"] != []
        password = Secret.from_file(row.password_file)
        with pytest.raises(OperationRefused) as twice:
            repository_add(name="again", url=url, password=password, access=Access(credentials=KEYS))
        assert (twice.value.code, "known already as offsite" in twice.value.message) == ("repository_known", True)


@pytest.mark.parametrize(
    ("name", "url", "access", "code", "words"),
    [
        ("a b", "/srv/x", Access(), "name_invalid", "name: expected"),
        ("taken", "/srv/x", Access(), "name_taken", "name: there is a repository taken"),
        ("x", "srv/x", Access(), "address_invalid", "url: expected a folder that begins with /"),
        ("x", "s3:https://key:secret@host/b", Access(), "address_invalid", "url: the address holds a user"),
        ("x", "s3:https://host", Access(), "address_invalid", "url: the name of the bucket is missing"),
        ("x", "rest:https://host:x/", Access(), "address_invalid", "url: the port is no number"),
        ("x", "sftp:host", Access(), "address_invalid", "url: expected sftp:"),
        ("x", "b2:bucket", Access(), "address_invalid", "url: expected a folder"),
        ("x", "{var}/stacks/rag/volumes/x", Access(), "address_invalid", "within the data of a stack"),
        ("x", "s3:https://host/b", Access(), "credentials_invalid", "credentials: an object store needs AWS_ACCESS"),
        ("x", "/srv/x", Access(credentials={"PATH": "/"}), "credentials_invalid", "PATH is no credential"),
        ("x", "rest:http://127.0.0.1:9/x", Access(), "repository_unreachable", "does not answer"),
        ("x", "sftp://u@127.0.0.1:9//x", Access(), "repository_unreachable", "does not answer"),
    ],
)
def test_what_does_not_work_is_refused_and_leaves_nothing(
    vault: Vault, tmp_path: Path, name: str, url: str, access: Access, code: str, words: str
) -> None:
    vault.repository("taken", init=False)
    with pytest.raises(OperationRefused) as refused:
        repository_add(name=name, url=url.format(var=tmp_path), access=access)
    assert (refused.value.code, words in refused.value.message) == (code, True), refused.value.message
    assert refused.value.remedy
    assert secret_files(tmp_path) == []
    assert Repository.objects.count() == 1


@pytest.mark.skipif(sshd.program() is None, reason="no sshd: apt-get install openssh-server")
def test_an_sftp_server_s_key_is_confirmed_before_anything_is_sent(vault: Vault, tmp_path: Path) -> None:
    with sshd.sshd(tmp_path / "ssh") as server:
        url, key = f"{server.url}/r", server.user_key.read_text()
        with pytest.raises(OperationRefused) as unknown:
            repository_add(name="nas", url=url, access=Access(private_key=key))
        assert unknown.value.code == "host_key_unknown"
        assert server.fingerprint in unknown.value.message
        with pytest.raises(OperationRefused) as other:
            repository_add(name="nas", url=url, access=Access(private_key=key, host_key="SHA256:other"))
        assert other.value.code == "host_key_changed"
        assert list(server.data.iterdir()) == []
        added = repository_add(name="nas", url=url, access=Access(private_key=key, host_key=server.fingerprint))
        assert set(added.repository.options) == {"key_file", "known_hosts_file"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in secret_files(tmp_path)} == {0o600}
        assert added.report["figures"]["free_bytes"] > 0
        assert (server.data / "r" / "config").exists()


def test_an_existing_repository_is_adopted_with_all_it_holds(vault: Vault, stocked: Stock, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(stocked.folder, folder)
    password = Secret.from_file(stocked.folder.with_name("password"))
    with pytest.raises(OperationRefused) as refused:
        repository_add(name="old", url=str(folder))
    assert (refused.value.code, Repository.objects.count()) == ("repository_exists", 0)
    added = repository_add(name="old", url=str(folder), password=password)
    row = added.repository
    vault.restic(row, "backup", "--quiet", "--host", "laptop", "--tag", "holiday", str(tmp_path / "old" / "config"))
    vault.restic(row, "tag", "--set", "ragkeep,set:x", "--host", "nobody", check=False)
    assert (row.restic_id, added.adopting is not None) == (stocked.restic_id, True)
    assert added.adopting is not None
    execute(added.adopting.pk)
    added.adopting.refresh_from_db()
    assert added.adopting.state == State.SUCCEEDED, added.adopting.error
    result = added.adopting.result
    assert {name: result[name] for name in ("sets", "new", "foreign", "removed", "unreadable")} == {
        "sets": 3, "new": 3, "foreign": 1, "removed": 0, "unreadable": 0,
    }  # fmt: skip
    rows = {found.pk: found for found in BackupSet.objects.all()}
    for set_id, taken, snapshot in stocked.sets:
        found = rows[set_id]
        assert (found.snapshot_id, found.taken_at, found.state) == (snapshot, taken, SetState.COMPLETE)
        assert (found.stack, found.environment, found.freeze_ms) == ("rag", "production", 10.0)
        assert found.detail["versions"] == {"postgres_major": 18}
        assert found.sources["config"]["files"] == 2
    foreign = row.foreign_snapshots.get()
    assert (foreign.host, foreign.tags) == ("laptop", ["holiday"])
    assert set_last_good(stack="rag") == rows[stocked.sets[-1][0]]
    view = repository_list()[0]
    assert (view.sets, view.foreign, view.newest) == (3, 1, stocked.sets[-1][1])


def test_reading_again_adds_what_is_new_and_marks_what_is_gone(vault: Vault, stocked: Stock) -> None:
    row = vault.stocked_without_sets(stocked, "default")
    adopted(row)
    first, second = stocked.sets[0], stocked.sets[1]
    new = vault.add_set(row)
    BackupSet.objects.filter(pk=new.pk).delete()
    vault.restic(row, "forget", first[2])
    vault.restic(row, "tag", "--add", "state:partial", second[2])
    operation = adopted(row)
    assert (operation.result["new"], operation.result["removed"]) == (1, 1)
    assert first[0] in operation.log_lines.get(level="warning").text
    states = dict(BackupSet.objects.filter(removed_at=None).values_list("pk", "state"))
    assert states == {second[0]: "partial", stocked.sets[2][0]: "complete", new.pk: "complete"}
    assert BackupSet.objects.get(pk=first[0]).removed_at is not None
    again = adopted(row)
    assert (again.result["new"], again.result["removed"], again.result["back"]) == (0, 0, 0)


def test_a_set_of_a_later_version_is_shown_but_never_the_last_good_one(vault: Vault, tmp_path: Path) -> None:
    row = vault.repository()
    set_id = "20270101T000000Z-ffffff"
    (tmp_path / "later" / "set").mkdir(parents=True)
    (tmp_path / "later" / "set" / "set.json").write_text('{"format": 99, "novelty": true}')
    tags = ("--tag", "ragkeep", "--tag", f"set:{set_id}", "--tag", "stack:rag")
    vault.restic(row, "backup", "--quiet", *tags, "set", cwd=tmp_path / "later")
    operation = adopted(row)
    found = BackupSet.objects.get()
    assert (found.pk, found.stack, found.state) == (set_id, "rag", SetState.FAILED)
    assert found.detail["error"]["code"] == "manifest_invalid"
    assert "newer Ragkeep" in operation.log_lines.get(level="warning").text
    assert (operation.result["unreadable"], set_last_good()) == (1, None)
    assert adopted(row).result["new"] == 1, "read again: an upgrade may understand it"


def test_sets_that_belong_elsewhere_are_copies(vault: Vault, stocked: Stock) -> None:
    vault.stocked(stocked, "first")
    second = vault.stocked_without_sets(stocked, "second")
    assert adopted(second).result["copies"] == 3
    assert BackupSet.objects.filter(repository=second).count() == 0
    assert SetCopy.objects.filter(repository=second).count() == 3
    vault.restic(second, "forget", stocked.sets[0][2])
    assert adopted(second).result["copies"] == 2
    assert set(SetCopy.objects.values_list("set_id", flat=True)) == {found[0] for found in stocked.sets[1:]}


def test_a_reader_that_dies_goes_on_where_it_stopped(
    vault: Vault, stocked: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = vault.stocked_without_sets(stocked, "default")
    monkeypatch.setattr(adoption, "BATCH", 1)
    real, read = agent.run_agent, list[str]()

    def dying(ctx: Context, job: Mapping[str, Any], *, undoing: bool = False) -> dict[str, Any]:
        read.extend(job["options"].get("snapshots", []))
        result = real(ctx, job, undoing=undoing)
        if len(read) == 2 and ctx.attempt == 1:
            raise OperationalError("the worker dies")
        return result

    monkeypatch.setattr(adoption, "run_agent", dying)
    operation = repository_adopt(repository=row)
    with pytest.raises(OperationalError):
        execute(operation.pk)
    assert BackupSet.objects.count() == 1
    assert reaper.reap() == 1
    execute(operation.pk)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt) == (State.SUCCEEDED, 2)
    assert BackupSet.objects.count() == 3
    assert len(read) == 4, "the one whose row was made is not read again"


def test_a_backup_that_ends_meanwhile_is_not_taken_for_gone(
    vault: Vault, stocked: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, sets = vault.stocked(stocked)
    real = agent.run_agent

    def while_one_ends(ctx: Context, job: Mapping[str, Any], *, undoing: bool = False) -> dict[str, Any]:
        result = real(ctx, job, undoing=undoing)
        if job["kind"] == "adopt":
            late = sets[-1].taken_at + timedelta(hours=1)
            BackupSet.objects.create(id="late", stack="rag", repository=row, state="complete", taken_at=late)
        return result

    monkeypatch.setattr(adoption, "run_agent", while_one_ends)
    adopted(row)
    assert BackupSet.objects.get(pk="late").removed_at is None


def test_removing_takes_rows_away_and_leaves_data_and_password(vault: Vault, stocked: Stock, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(stocked.folder, folder)
    password = Secret.from_file(stocked.folder.with_name("password"))
    row = repository_add(name="old", url=str(folder), password=password).repository
    with pytest.raises(OperationRefused, match="confirm: expected the name"):
        repository_remove(repository=row, confirm="default")
    with pytest.raises(OperationRefused, match="an operation is at work"):
        repository_remove(repository=row, confirm="old")
    execute(Operation.objects.get(kind="repository.adopt").pk)
    found = BackupSet.objects.first()
    assert found is not None
    Drill.objects.create(set=found, state="passed", seconds=1)
    plan = Plan.objects.create(name="nightly", stack="rag", repository=row)
    with pytest.raises(OperationRefused, match="the plans nightly use it"):
        repository_remove(repository=row, confirm="old")
    plan.delete()
    operation = Operation.objects.get(kind="repository.adopt")
    kept = Restore.objects.create(set=found, operation=operation, state=RestoreState.KEPT)
    with pytest.raises(OperationRefused, match="can still be undone"):
        repository_remove(repository=row, confirm="old")
    Restore.objects.filter(pk=kept.pk).update(state=RestoreState.CONFIRMED)
    moved = repository_remove(repository=row, confirm="old")
    assert (Repository.objects.count(), BackupSet.objects.count(), Restore.objects.count()) == (0, 0, 0)
    assert (folder / "config").exists()
    assert [Path(path).read_text().strip() for path in moved] == [password.reveal()]
    assert repository_add(name="old", url=str(folder), password=password).adopting is not None


def test_a_folder_that_is_not_mounted_shows_as_missing(vault: Vault) -> None:
    row = vault.repository()
    Path(row.url).rename(f"{row.url}-unmounted")
    assert repository_get("default").state == "missing"
    report = repository_test(repository=row)
    assert [found["code"] for found in report["findings"] if found["level"] == "error"] == ["repository_unreachable"]
    with pytest.raises(OperationError):
        operation_start(kind="repository.adopt", target="repository:nowhere")
