"""Files that belonged to somebody whom the one who restores cannot give them to."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups import errors, process
from backups.job import RepositoryPlace
from backups.repository import Repository
from tests.support import servers

pytestmark = pytest.mark.integration


def as_uid(folder: Path, uid: int) -> Path:
    """restic in a user namespace in which we are this user and nobody else exists."""
    program = folder / f"restic-{uid}"
    program.write_text(f'#!/bin/sh\nexec unshare --user --map-user={uid} --map-group={uid} {servers.RESTIC} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def place(tmp_path: Path) -> RepositoryPlace:
    if process.run(["unshare", "--user", "--map-user=65534", "true"], check=False).returncode:
        pytest.skip("no user namespaces on this machine")
    (tmp_path / "key").write_text("a key\n")
    (tmp_path / "key").chmod(0o600)
    return RepositoryPlace("", str(tmp_path / "repository"), tmp_path / "key")


def test_what_belonged_to_somebody_unknown_here_comes_back_as_ours(place: RepositoryPlace, tmp_path: Path) -> None:
    (tmp_path / "set" / "inner").mkdir(parents=True)
    (tmp_path / "set" / "inner" / "page.txt").write_text("a page\n")
    theirs = Repository(place, as_uid(tmp_path, 4242), tmp_path / "cache")
    theirs.init()
    made = theirs.backup(cwd=tmp_path, paths=["set"], files=[], tags=["t"], host="h")
    ours = Repository(place, as_uid(tmp_path, 65534), tmp_path / "cache")
    assert {node["uid"] for node in ours.ls(made.snapshot_id) if node["type"] == "file"} == {4242}
    ours.restore(made.snapshot_id, folder="/set", target=tmp_path / "back")
    assert (tmp_path / "back" / "inner" / "page.txt").read_text() == "a page\n"

    # Another complaint beside those about owners is a failure as ever.
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(errors.RepositoryError):
        ours.restore(made.snapshot_id, folder="/set", target=tmp_path / "shut" / "back")
