"""What becomes of a repository that is damaged, locked, killed at, mistaken for another, or attacked.

The numbers are those of docs/explanation/faults.md.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from backups import process
from backups.restic import environment
from portal.alarms.conditions import conditions_now
from portal.operations.errors import OperationRefused
from portal.operations.models import State
from portal.vaults.measures import foreign_or_forged
from portal.vaults.models import BackupSet, Repository
from portal.vaults.selectors import set_last_good
from tests.support import servers
from tests.support.rest_server import PASSWORD, USER, credentials, rest_server
from tests.support.vault import TAKEN, Stock, Vault, flip_bit, stocked, vault

__all__ = ["stocked", "vault"]
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def test_12_a_flipped_bit_is_found_within_one_cycle_and_the_sets_are_named(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked, check_parts=2)
    newest = sets[-1]
    flip_bit(vault.pack_of(repository, newest))
    ended = [vault.run("repository.check", repository) for _ in range(2)]
    (failed,) = {operation.error["message"] for operation in ended if operation.state == State.FAILED}
    assert newest.pk in failed
    assert sets[0].pk not in failed
    repository.refresh_from_db()
    assert repository.check_error["sets"] == [newest.pk]
    assert set_last_good(stack="rag") == sets[-2]


def test_13_a_deleted_pack_is_repaired_after_copying_index_and_snapshots(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked, check_parts=1)
    lost = sets[1]
    vault.pack_of(repository, lost).unlink()
    failed = vault.run("repository.check", repository)
    assert (failed.error["code"], failed.result["sets"]) == ("repository_damaged", [lost.pk])
    assert "repositories repair" in failed.error["remedy"]
    still = vault.run("repository.repair", repository)
    assert still.result["sets"] == [lost.pk]  # the index is mended, the data is gone
    mended = vault.run("repository.repair", repository, snapshots=True)
    assert mended.state == State.SUCCEEDED, mended.error
    aside = Path(mended.result["aside"])
    assert {path.name for path in aside.iterdir()} >= {"index", "snapshots"}
    lost.refresh_from_db()
    repository.refresh_from_db()
    assert (lost.state, lost.snapshot_id != stocked.sets[1][2]) == ("partial", True)
    assert repository.check_error == {}
    assert vault.run("repository.check", repository).state == State.SUCCEEDED


def test_14_a_truncated_index_is_rebuilt_and_nothing_is_lost(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked, check_parts=1)
    index = next(Path(repository.url).glob("index/*"))
    index.chmod(0o600)
    index.write_bytes(index.read_bytes()[:100])
    failed = vault.run("repository.check", repository)
    assert failed.error["code"] == "index_damaged"
    assert failed.result["sets"] == sorted(found.pk for found in sets)
    assert set_last_good(stack="rag") is None
    mended = vault.run("repository.repair", repository)
    assert mended.state == State.SUCCEEDED, mended.error
    assert (Path(mended.result["aside"]) / "index" / index.name).stat().st_size == 100
    assert set_last_good(stack="rag") == sets[-1]


def test_15_a_dead_owners_lock_is_cleared_and_logged_a_living_ones_waited_for(vault: Vault, stocked: Stock) -> None:
    repository, _ = vault.stocked(stocked, check_parts=1)
    env = environment(repository.url, Path(repository.password_file), vault.root / "cache/restic")
    with process.Running((servers.RESTIC, "backup", "--stdin"), env=env) as holder:
        servers.wait_until(lambda: any(Path(repository.url, "locks").iterdir()), what="the lock")
        told = vault.run("repository.unlock", repository)
        assert (told.state, told.result["cleared"]) == (State.PARTIAL, [])
        assert told.result["held"][0]["pid"] == holder.pid
        with vault.background("repository.check", repository) as checking:
            servers.wait_until(
                lambda: checking.log_lines.filter(text__contains=f"waiting for process {holder.pid}").exists(),
                what="the check to wait",
            )
            holder.kill()
        checking.refresh_from_db()
    assert checking.state == State.SUCCEEDED, checking.error
    assert checking.log_lines.filter(
        level="warning", text__contains=f"cleared the lock of process {holder.pid}"
    ).exists()
    assert not any(Path(repository.url, "locks").iterdir())


def test_17_a_killed_prune_leaves_the_repository_usable_and_is_resumed(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked, check_parts=1)
    removed = vault.run("repository.forget", repository, sets=[sets[1].pk], why="test")
    assert removed.state == State.SUCCEEDED, removed.error
    assert BackupSet.objects.get(pk=sets[1].pk).removed_at is not None
    vault.kill_agent_during("prune")
    before = sum(path.stat().st_size for path in vault.packs(repository))
    done = vault.run("repository.prune", repository)
    assert not vault.armed.exists()
    assert done.state == State.SUCCEEDED, done.error
    assert sum(path.stat().st_size for path in vault.packs(repository)) < before - 190_000
    assert done.log_lines.filter(text__contains="started again").exists()
    assert vault.run("set.verify", "stack:rag", set=sets[0].pk).state == State.SUCCEEDED
    assert vault.run("repository.check", repository).state == State.SUCCEEDED


def test_18_wrong_password_and_missing_repository_are_told_and_never_made_anew(vault: Vault, stocked: Stock) -> None:
    repository, _ = vault.stocked(stocked)
    wrong = vault.root / "wrong"
    wrong.write_text("not the password\n")
    right, repository.password_file = repository.password_file, str(wrong)
    repository.save()
    for kind in ("repository.check", "repository.prune", "repository.stats"):
        assert vault.run(kind, repository).error["code"] == "repository_key_wrong"
    repository.password_file = right
    repository.save()
    folder = Path(repository.url)
    folder.rename(folder.with_name("elsewhere"))
    assert vault.run("repository.check", repository).error["code"] == "repository_unreachable"
    folder.mkdir()
    assert vault.run("repository.prune", repository).error["code"] == "repository_missing"
    assert list(folder.iterdir()) == []


def test_23_a_stolen_everyday_credential_removes_no_history(vault: Vault, stocked: Stock) -> None:
    data = vault.root / "repositories"
    with rest_server(data, append_only=True) as everyday, rest_server(data) as pruning:
        repository, sets = append_only(vault, stocked, everyday.url("kept"))
        thief = vault.maintenance(repository)
        packs = sorted(data.glob("kept/data/*/*"))
        thief.forget([sets[0].snapshot_id])  # restic says nothing when a server refuses it
        answer = httpx.delete(f"{everyday.endpoint}/kept/data/{packs[0].name}", auth=(USER, PASSWORD))
        assert answer.status_code == 403
        assert sorted(data.glob("kept/data/*/*")) == packs
        assert set(thief.sets()) == {found.pk for found in sets}
        with pytest.raises(OperationRefused, match="append-only"):
            vault.run("repository.forget", repository, sets=[sets[0].pk])
        Repository.objects.filter(pk=repository.pk).update(append_only=False)  # somebody forgot to say so
        failed = vault.run("repository.forget", repository, sets=[sets[0].pk])
        assert failed.error["code"] == "not_removed"
        assert BackupSet.objects.get(pk=sets[0].pk).removed_at is None
        Repository.objects.filter(pk=repository.pk).update(
            append_only=True, prune_url=pruning.url("kept"), prune_credentials_file=repository.credentials_file
        )
        gone = vault.run("repository.forget", repository, sets=[sets[0].pk])
        assert gone.result["removed"] == [sets[0].pk], gone.error
        assert vault.run("repository.prune", repository).state == State.SUCCEEDED
        assert set(thief.sets()) == {found.pk for found in sets[1:]}
        assert len(list(data.glob("kept/data/*/*"))) < len(packs)


def test_24_forged_snapshots_are_told_apart_and_push_nothing_out(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked)
    assert vault.run("repository.stats", repository).state == State.SUCCEEDED
    assert foreign_or_forged(repository) == []
    work = vault.root / "attack"
    work.mkdir()
    (work / "nothing").touch()
    for day, tags in ((3, ("ragkeep", "set:20260113T023000Z-abcdef", "stack:rag")), (4, ("mine",))):
        words = [word for tag in tags for word in ("--tag", tag)]
        at = f"{TAKEN + timedelta(days=day):%Y-%m-%d %H:%M:%S}"
        vault.restic(repository, "backup", "--host", "rag-production", "--time", at, *words, "nothing", cwd=work)
    told = vault.run("repository.stats", repository)
    assert told.result["foreign_count"] == 2
    assert [(one.forged, one.snapshot.tags[0]) for one in foreign_or_forged(repository)] == [
        (False, "mine"),
        (True, "ragkeep"),
    ]
    alarms = {condition.key for condition in conditions_now()}
    assert f"repository.forged {repository.scope}" in alarms
    # Retention counts the sets of the database alone, so the forged ones push none of them out.
    assert {found.pk for found in BackupSet.objects.filter(removed_at=None)} == {found.pk for found in sets}


def append_only(vault: Vault, stocked: Stock, url: str) -> tuple[Repository, list[BackupSet]]:
    """The stock behind an append-only server."""
    repository, sets = vault.stocked(stocked, "kept", append_only=True)
    repository.url, repository.credentials_file = url, str(credentials(vault.root / "everyday.env"))
    repository.save()
    return repository, sets
