"""A desk from which tests reach every kind of place a repository can lie in, on real servers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backups.job import Job, RepositoryPlace, Tools
from backups.journal import Context, Fence, Journal
from backups.limits import NONE, Limits
from backups.place import PlaceOptions
from backups.repository import Repository
from tests.support import rest_server, s3_server, servers, sshd

TOOLS = Tools(servers.RESTIC, servers.PG_BIN)
needs_sshd = pytest.mark.skipif(sshd.program() is None, reason="no sshd: apt-get install openssh-server")
KINDS = ["local", "seaweedfs", "rclone", "rest", pytest.param("sftp", marks=needs_sshd)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.ObjectStore]:
    with s3_server.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="module")
def rclone_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.RcloneStore]:
    with s3_server.rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rest_server.RestServer]:
    with rest_server.rest_server(tmp_path_factory.mktemp("rest")) as server:
        yield server


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.SshServer]:
    with sshd.sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@dataclass
class Desk:
    """Where a test works: makes places, repositories and jobs."""

    folder: Path
    request: pytest.FixtureRequest

    def place(self, kind: str, name: str) -> RepositoryPlace:
        password = self.folder / "password"
        password.write_text("test-key\n")
        blank = RepositoryPlace("", str(self.folder / name), password)
        return getattr(self, f"_{kind}")(blank, name)  # type: ignore[no-any-return]

    def repository(self, place: RepositoryPlace, limits: Limits = NONE) -> Repository:
        return Repository(place, servers.RESTIC, self.folder / "cache", limits)

    def run(
        self, work: Callable[[Job, Context], dict[str, Any]], place: RepositoryPlace, **options: object
    ) -> dict[str, Any]:
        where = self.folder / "operation"
        job = Job("probe", "op", 1, where / "fence", where, None, place, TOOLS, None, options)
        return work(job, Context(Journal(io.StringIO()), Fence(job.fence, 1)))

    def _local(self, blank: RepositoryPlace, _name: str) -> RepositoryPlace:
        return blank

    def _seaweedfs(self, blank: RepositoryPlace, name: str) -> RepositoryPlace:
        server: s3_server.ObjectStore = self.request.getfixturevalue("store")
        keys = s3_server.credentials(self.folder / "s3.env")
        return replace(blank, url=f"{server.url}/{name}", credentials_file=keys)

    def _rclone(self, blank: RepositoryPlace, name: str) -> RepositoryPlace:
        server: s3_server.RcloneStore = self.request.getfixturevalue("rclone_store")
        keys = s3_server.credentials(self.folder / "s3.env")
        return replace(blank, url=f"{server.store.url}/{name}", credentials_file=keys)

    def _rest(self, blank: RepositoryPlace, name: str) -> RepositoryPlace:
        server: rest_server.RestServer = self.request.getfixturevalue("rest")
        return replace(blank, url=server.url(name), credentials_file=rest_server.credentials(self.folder / "rest.env"))

    def _sftp(self, blank: RepositoryPlace, name: str) -> RepositoryPlace:
        server: sshd.SshServer = self.request.getfixturevalue("ssh")
        # With a blank in it: restic and ssh each take the options apart once more.
        folder = self.folder / "with blank"
        folder.mkdir(exist_ok=True)
        options = PlaceOptions(key_file=server.user_key, known_hosts_file=server.known_hosts(folder / "hosts"))
        return replace(blank, url=f"{server.url}/{name}", options=options)


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    return Desk(tmp_path, request)


def fill(folder: Path, megabytes: int = 0) -> Path:
    """A staging folder with one text, and as many megabytes that do not compress."""
    staged = folder / "staged"
    (staged / "set").mkdir(parents=True)
    (staged / "set" / "text").write_text("what must come back")
    if megabytes:
        with Path("/dev/urandom").open("rb") as noise:
            (staged / "set" / "noise").write_bytes(noise.read(megabytes << 20))
    return staged
