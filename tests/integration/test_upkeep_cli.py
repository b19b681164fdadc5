"""`manage.py repositories` for upkeep: each subcommand says one JSON object, and asks before it rewrites anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from config.cli.repositories import command
from portal.vaults.models import Repository
from tests.support.vault import Stock, Vault, flip_bit, stocked, vault

__all__ = ["stocked", "vault"]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("worker_thread"),
]


def told(*words: str, typed: str | None = None, code: int = 0) -> dict[str, Any]:
    """The one object that a subcommand printed."""
    done = CliRunner().invoke(command, [*words, "--json"], input=typed)
    assert done.exit_code == code, done.output
    (found,) = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    return dict(found)


def test_each_subcommand_says_one_object(vault: Vault, stocked: Stock) -> None:
    _, sets = vault.stocked(stocked, check_parts=1)
    vault.repository("second", init=False)
    changed = told("care", "default", "--copy-to", "second", "--capacity-gib", "3")
    assert changed == {"name": "default", "changed": ["capacity_bytes", "copy_to"]}
    assert told("check", "default")["sets"] == 3
    assert told("unlock", "default")["cleared"] == []
    assert told("measure", "default")["snapshots_count"] == 3
    assert told("copy", "default", "--set", sets[0].pk)["copied"] == [sets[0].pk]
    assert told("prune", "default", "--full-disk")["occupied_bytes"] > 600_000
    assert told("check", "nowhere", code=1)["error"]["code"] == "no_repository"


def test_what_rewrites_asks_for_the_name_and_damage_is_an_error(vault: Vault, stocked: Stock) -> None:
    repository, sets = vault.stocked(stocked, check_parts=1)
    assert told("change-key", "default", typed="defualt\n", code=1)["error"]["code"] == "unconfirmed"
    assert Repository.objects.count() == 1
    flip_bit(vault.pack_of(repository, sets[2]))
    error = told("check", "default", code=1)["error"]
    assert sets[2].pk in error["message"]
    assert told("repair", "default", "--snapshots", typed="default\n")["partial"] == [sets[2].pk]
