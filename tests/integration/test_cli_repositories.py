"""`manage.py repositories`: one JSON object, exit status 0 only on success, on real repositories."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from config.cli import repositories as verb
from portal.operations import queue, worker
from portal.vaults.models import Repository
from tests.support.vault import Stock, Vault, stocked, vault

__all__ = ["stocked", "vault"]
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations run as soon as they are enqueued, before the verb follows them."""

    def enqueue(operation_id: uuid.UUID) -> None:
        worker.execute(operation_id)

    monkeypatch.setattr(queue, "enqueue", enqueue)


def call(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(verb.command, list(words), input=typed)


def told(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_repository_s_whole_life(vault: Vault, stocked: Stock, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(stocked.folder, folder)
    made = call("add", "disk2", str(tmp_path / "disk2"), "--append-only", "--json")
    assert made.exit_code == 0, made.output
    assert (told(made)["adopted"], Path(told(made)["password_file"]).exists()) == (None, True)

    password = stocked.folder.with_name("password").read_text()
    adopted = call("add", "old", str(folder), "--password-file", "-", "--json", typed=password)
    assert adopted.exit_code == 0, adopted.output
    assert (told(adopted)["id"], told(adopted)["adopted"]["sets"]) == (stocked.restic_id, 3)

    listed = told(call("list", "--json"))["repositories"]
    assert [(one["name"], one["sets"], one["append_only"]) for one in listed] == [
        ("disk2", 0, True), ("old", 3, False),
    ]  # fmt: skip
    assert "old" in call().stdout
    assert told(call("test", "old", "--json"))["repository"] == stocked.restic_id
    again = call("adopt", "old")
    assert (again.exit_code, "holds 3 sets, 0 of them new" in again.stdout) == (0, True), again.output

    shutil.move(folder, tmp_path / "moved")
    gone = call("test", "old", "--json")
    assert (gone.exit_code, told(gone)["ok"]) == (1, False)
    assert call("change", "old", "--url", str(tmp_path / "moved")).exit_code == 0
    assert Repository.objects.get(name="old").url == str(tmp_path / "moved")

    kept = call("remove", "old", "--json", typed="new\n")
    assert (kept.exit_code, told(kept)["error"]["code"]) == (1, "unconfirmed")
    removed = call("remove", "old", "--yes", "--json")
    assert (removed.exit_code, len(told(removed)["kept"])) == (0, 1), removed.output
    assert (tmp_path / "moved" / "config").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("add", "x", "somewhere"), "address_invalid"),
        (("add", "x", "s3:http://127.0.0.1:9/b"), "credentials_invalid"),
        (("add", "x", "rest:http://127.0.0.1:9/"), "repository_unreachable"),
        (("add", "x", "/srv/x", "--password-file", "/nowhere/password"), "files"),
        (("test", "nowhere"), "no_repository"),
        (("adopt", "nowhere"), "no_repository"),
        (("remove", "nowhere", "--yes"), "no_repository"),
    ],
)
def test_what_does_not_work_is_one_object_with_a_remedy(vault: Vault, words: tuple[str, ...], code: str) -> None:
    done = call(*words, "--json")
    error = told(done)["error"]
    assert (done.exit_code, error["code"]) == (1, code), done.output
    assert error["remedy"]
    assert Repository.objects.count() == 0
