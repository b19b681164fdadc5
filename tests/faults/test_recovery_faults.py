"""A recovery with the wrong key, without a repository, or of another one: nothing is made, nothing is changed.

The numbers are those of docs/explanation/faults.md; case 22, the blank machine, is tests/integration/test_recover.py.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from backups import process
from backups.errors import RepositoryExists, RepositoryMissing
from backups.job import RepositoryPlace
from backups.repository import Repository
from tests.support import servers
from tests.support.product import Product, installation
from tests.support.sample_stack import run_agent, sample_stack

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Path:
    """A folder with `repo`, which holds one set without a portal, and its `key`."""
    folder = tmp_path_factory.mktemp("recovery")
    with sample_stack(folder / "stack", postgres_server, documents=1) as stack:
        assert run_agent(stack.job()).last["state"] == "complete"
        (folder / "repo").symlink_to(stack.repository)
        (folder / "key").symlink_to(stack.root / "secrets/repository")
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in (folder.resolve()).rglob("*") if path.is_file() and "locks" not in path.parts)
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(blank: Product, repository: Path, key: Path, *words: str) -> dict[str, Any]:
    told = blank.manage(
        "recover", "--repository", str(repository), "--password-file", str(key), "--json", *words, check=False
    )
    assert told.returncode == 1, told.stdout
    error: dict[str, Any] = json.loads(told.stdout)["error"]
    assert error["remedy"]
    return error


def test_18_a_wrong_key_or_a_missing_repository_makes_and_changes_nothing(repository: Path, tmp_path: Path) -> None:
    before = contents(repository / "repo")
    (tmp_path / "wrong").write_text("not the key\n")
    (tmp_path / "empty").mkdir()
    with installation() as blank:
        there = {path.name for path in blank.var.iterdir()}
        assert refused(blank, repository / "repo", tmp_path / "wrong")["code"] == "repository_key_wrong"
        assert refused(blank, tmp_path / "nowhere", repository / "key")["code"] == "repository_unreachable"
        assert refused(blank, tmp_path / "empty", repository / "key")["code"] == "repository_missing"
        assert refused(blank, repository / "repo", tmp_path / "no-key")["code"] == "unreadable"
        assert (
            refused(blank, repository / "repo", repository / "key", "--set", "20200101T000000Z-000000")["code"]
            == "set_unknown"
        )
        made = {path.name for path in blank.var.iterdir()} - there
        assert made <= {"run", "home", "operations", "bootstrap.lock", "tools", "cache"}
    assert contents(repository / "repo") == before
    assert not (tmp_path / "nowhere").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_18_a_known_repository_that_is_gone_is_never_made_anew(repository: Path, tmp_path: Path) -> None:
    key = repository / "key"
    known = Repository(RepositoryPlace("", str(repository / "repo"), key), servers.RESTIC, tmp_path / "cache").open()
    empty = tmp_path / "mount-that-is-not-mounted"
    empty.mkdir()
    gone = Repository(RepositoryPlace(known, str(empty), key), servers.RESTIC, tmp_path / "cache")
    with pytest.raises(RepositoryMissing):
        gone.open()
    with pytest.raises(RepositoryExists):
        gone.init()
    assert list(empty.iterdir()) == []


def test_the_rescue_commands_read_what_another_format_and_another_hand_wrote(repository: Path, tmp_path: Path) -> None:
    """The set copied by plain restic into a repository of format 1, beside a snapshot that is none of ours."""
    old, key = tmp_path / "old", repository / "key"
    restic = {"RESTIC_PASSWORD_FILE": str(key), "RESTIC_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    env = {**restic, "RESTIC_REPOSITORY": str(old), "PATH": "/usr/bin:/bin"}
    origin = ["--from-repo", str(repository / "repo"), "--from-password-file", str(key)]
    process.run([servers.RESTIC, "init", "--repository-version", "1", *origin, "--copy-chunker-params"], env=env)
    process.run([servers.RESTIC, "copy", *origin], env=env)
    process.run([servers.RESTIC, "backup", "--host", "laptop", "--tag", "holiday", str(key)], env=env)
    rescue: list[str | Path] = [servers.REPO / ".venv/bin/python", "-m", "backups"]
    place = ["--repository", str(old), "--password-file", str(key), "--restic", str(servers.RESTIC), "--json"]
    listed = json.loads(process.run([*rescue, "list", *place], cwd=servers.REPO).stdout)["sets"]
    assert [one["state"] for one in listed] == ["complete"]
    target = tmp_path / "back"
    only = ["--source", "documents", "--source", "postgres"]
    words = [*rescue, "restore", "--set", "latest", "--target", str(target), *only, *place]
    told = json.loads(process.run(words, cwd=servers.REPO).stdout)
    assert set(told["files"]) == {"documents", "postgres"}
    assert told["flaws"] == []
    assert (
        len([path for path in (target / "documents").rglob("*") if path.is_file()]) == told["files"]["documents"] == 2
    )
    assert not (target / "vectors").exists()
