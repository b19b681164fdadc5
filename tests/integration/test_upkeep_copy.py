"""Sets in a second repository, restored from there when the first is gone; and a change of key."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from portal.operations.errors import OperationRefused
from portal.operations.models import State
from portal.operations.services import operation_start
from portal.vaults.copies import copies_missing
from portal.vaults.models import Plan, Repository, SetCopy
from portal.vaults.restore_choice import set_of
from portal.vaults.selectors import repository_get_default, set_source
from tests.support.vault import Stock, Vault, stocked, vault

__all__ = ["stocked", "vault"]
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def test_a_killed_copy_is_resumed_and_the_copy_serves_when_the_first_is_gone(vault: Vault, stocked: Stock) -> None:
    second = vault.repository("second", init=False)
    first, sets = vault.stocked(stocked, copy_to=second)
    vault.kill_agent_during("copy")
    copied = vault.run("repository.copy", first)
    assert not vault.armed.exists()
    assert copied.state == State.SUCCEEDED, copied.error
    assert sorted(copied.result["copied"]) == sorted(found.pk for found in sets)
    second.refresh_from_db()
    assert len(second.restic_id) == 64
    assert copies_missing(first) == []
    assert vault.run("repository.copy", first).result["copied"] == []
    assert set_source(sets[0]) == (first, sets[0].snapshot_id)
    shutil.rmtree(first.url)
    source, snapshot = set_source(sets[0])
    assert source == second
    assert set_of({"set": sets[0].pk}).repository == second
    target = vault.root / "restored"
    vault.maintenance(source).restore(snapshot, folder="/set", target=target)
    assert (target / "config/stack.yaml").read_text() == f"name: {sets[0].pk}\n"


def test_a_change_of_key_moves_plans_and_sets_at_once(vault: Vault, stocked: Stock) -> None:
    old, sets = vault.stocked(stocked)
    plan = Plan.objects.create(name="nightly", stack="rag", repository=old)
    done = vault.run("repository.rekey", old)
    assert done.state == State.SUCCEEDED, done.error
    new = Repository.objects.get(name=done.result["repository"])
    old.refresh_from_db()
    plan.refresh_from_db()
    assert (old.replaced_by, plan.repository, repository_get_default()) == (new, new, new)
    assert Path(new.password_file).stat().st_mode & 0o777 == 0o600
    assert Path(new.password_file).read_text() != Path(old.password_file).read_text()
    assert set(new.sets.values_list("pk", flat=True)) == {found.pk for found in sets}
    assert SetCopy.objects.filter(repository=old).count() == 3
    assert vault.run("set.verify", "stack:rag", set=sets[0].pk).state == State.SUCCEEDED
    with pytest.raises(OperationRefused, match="replaced"):
        operation_start(kind="repository.rekey", target=old.scope)


def test_two_repositories_never_wait_for_one_another(vault: Vault, stocked: Stock) -> None:
    one, _ = vault.stocked(stocked, "one")
    other = vault.stocked_without_sets(stocked, "other")
    prune = operation_start(kind="repository.prune", target=one.scope)
    for kind in ("repository.check", "repository.forget", "repository.repair", "repository.unlock"):
        with pytest.raises(OperationRefused) as refused:
            operation_start(kind=kind, target=one.scope, params={"sets": [stocked.sets[0][0]]})
        assert refused.value.data == {"operation": str(prune.pk)}
    assert operation_start(kind="repository.prune", target=other.scope).is_active
