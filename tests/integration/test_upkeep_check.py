"""Checks read everything in t runs, name the sets that damage affects, and what is damaged is offered no more."""

from __future__ import annotations

import pytest

from portal.operations.models import State
from portal.vaults.selectors import set_last_good
from tests.support.vault import Stock, Vault, flip_bit, stocked, vault

__all__ = ["stocked", "vault"]
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def test_slices_advance_and_come_round(vault: Vault, stocked: Stock) -> None:
    repository, _ = vault.stocked(stocked, check_parts=2)
    seen = []
    for _ in range(3):
        operation = vault.run("repository.check", repository)
        assert operation.state == State.SUCCEEDED, operation.error
        seen.append(operation.result["part"])
        repository.refresh_from_db()
    assert seen == [1, 2, 1]
    assert repository.checked_at is not None
    assert repository.check_error == {}


def test_reading_a_set_back_finds_what_differs_and_forgives_what_is_mended(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked)
    newest = sets[-1]
    done = vault.run("set.verify", "stack:rag", set=newest.pk)
    assert (done.state, done.result["files"]) == (State.SUCCEEDED, 3), done.error
    newest.refresh_from_db()
    assert newest.verified_at is not None
    assert set_last_good(stack="rag") == newest
    pack = vault.pack_of(repository, newest)
    whole = pack.read_bytes()
    flip_bit(pack)
    failed = vault.run("set.verify", "stack:rag", set=newest.pk)
    newest.refresh_from_db()
    assert (failed.error["code"], newest.verify_error["code"]) == ("set_damaged", "set_damaged")
    assert newest.pk in failed.error["message"]
    assert set_last_good(stack="rag") == sets[-2]
    assert vault.run("set.verify", "stack:rag", set=sets[0].pk).state == State.SUCCEEDED
    pack.write_bytes(whole)
    assert vault.run("set.verify", "stack:rag", set=newest.pk).state == State.SUCCEEDED
    assert set_last_good(stack="rag") == newest
