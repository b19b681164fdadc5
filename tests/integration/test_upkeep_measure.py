"""Repositories are measured after a backup and once a day, and not again and again while that fails."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from portal.operations.models import Operation, State
from portal.vaults.measures import measures_due
from portal.vaults.models import BackupSet, Repository, SetState
from tests.support.vault import Vault, vault

__all__ = ["vault"]
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def repository(vault: Vault) -> Repository:
    return Repository.objects.create(name="default", url=str(vault.root / "none"), password_file="x")


def finish(operation: Operation, state: State) -> None:
    operation.claims.all().delete()
    Operation.objects.filter(pk=operation.pk).update(state=state, finished_at=timezone.now())


def test_a_fresh_figure_is_left_until_a_set_is_added_or_a_day_has_gone(repository: Repository) -> None:
    now = timezone.now()
    (first,) = measures_due()
    assert (first.kind, first.target) == ("repository.stats", "repository:default")
    finish(first, State.SUCCEEDED)
    Repository.objects.update(stats_at=now)
    assert measures_due(now) == []
    (daily,) = measures_due(now + timedelta(hours=25))
    finish(daily, State.SUCCEEDED)
    backup = Operation.objects.create(kind="backup", target="stack:rag", join_key="b", finished_at=timezone.now())
    BackupSet.objects.create(
        id="a", stack="rag", repository=repository, operation=backup, state=SetState.COMPLETE, taken_at=now
    )
    assert len(measures_due(timezone.now())) == 1


def test_a_failure_is_tried_again_an_hour_later(repository: Repository) -> None:
    (failed,) = measures_due()
    finish(failed, State.FAILED)
    assert measures_due() == []
    assert len(measures_due(timezone.now() + timedelta(minutes=61))) == 1
