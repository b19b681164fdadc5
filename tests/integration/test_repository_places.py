"""Every kind of place a repository can lie in, on real servers: a set's way there and back, and what goes wrong."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backups import errors, probe, reach, readback
from backups.job import Job, RepositoryPlace, Tools
from backups.journal import Context, Fence, Journal
from backups.limits import NONE, Limits
from backups.maintenance import Maintenance
from backups.place import PlaceOptions
from backups.repository import Repository
from backups.restic import Complaints
from tests.support import rest_server, s3_server, servers, sshd
from tests.support.vault import flip_bit
from tests.support.wire import Wire, wire

pytestmark = pytest.mark.integration
TOOLS = Tools(servers.RESTIC, servers.PG_BIN)
needs_sshd = pytest.mark.skipif(sshd.program() is None, reason="no sshd: apt-get install openssh-server")
NOTHING = Complaints("", ())
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_goes_there_and_comes_back(desk: Desk, kind: str) -> None:
    place = desk.place(kind, f"whole-{kind}")
    before = desk.run(probe.probe, place)
    assert (before["ok"], before["repository"]) == (True, None), before["findings"]
    made = desk.repository(place).init()

    known = replace(place, id=made)
    report = desk.run(probe.probe, known)
    assert (report["ok"], report["repository"]) == (True, made), report["findings"]
    repository = desk.repository(known)
    stored = repository.backup(cwd=fill(desk.folder), paths=["set"], files=[], tags=["ragkeep", "set:1"], host="h")
    repository.restore(stored.snapshot_id, folder="/set", target=desk.folder / "back")
    assert (desk.folder / "back" / "text").read_text() == "what must come back"
    with pytest.raises(errors.RepositoryExists) as there:
        desk.repository(place).init()
    assert there.value.data == {"id": made}


def test_a_repository_that_is_there_is_never_made_anew(desk: Desk) -> None:
    place = desk.place("rclone", "there")
    made = desk.repository(place).init()
    with pytest.raises(errors.RepositoryExists, match=f"{made[:8]} is known"):
        desk.repository(replace(place, id=made)).init()
    other = desk.folder / "other-password"
    other.write_text("another key\n")
    with pytest.raises(errors.RepositoryExists, match="another password"):
        desk.repository(replace(place, password_file=other)).init()
    assert codes(desk.run(probe.probe, replace(place, password_file=other))) == ["repository_key_wrong"]
    with pytest.raises(errors.RepositoryOther):
        desk.repository(replace(place, id="f" * 64)).open()


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_repository_that_is_gone_is_missed_not_replaced(desk: Desk, kind: str) -> None:
    place = replace(desk.place(kind, f"gone-{kind}"), id="f" * 64)
    report = desk.run(probe.probe, place)
    assert not report["ok"]
    assert set(codes(report)) & {"repository_missing", "repository_unreachable"}
    with pytest.raises(errors.RepositoryExists, match="is known at"):
        desk.repository(place).init()


def codes(report: dict[str, Any]) -> list[str]:
    return [found["code"] for found in report["findings"] if found["level"] != "note"]


def notes(report: dict[str, Any]) -> list[str]:
    return [found["code"] for found in report["findings"]]


@pytest.mark.parametrize(
    ("key", "secret"), [(s3_server.KEY, "wrong"), ("AKNOBODY", s3_server.SECRET)], ids=["secret", "key"]
)
def test_wrong_keys_of_an_object_store_are_told_at_once(desk: Desk, key: str, secret: str) -> None:
    place = desk.place("seaweedfs", "refused")
    wrong = replace(place, credentials_file=s3_server.credentials(desk.folder / "wrong.env", key, secret))
    began = time.monotonic()
    report = desk.run(probe.probe, wrong)
    with pytest.raises(errors.RepositoryRefused) as refused:
        desk.repository(wrong).open()
    # restic by itself goes on trying for a quarter of an hour
    assert time.monotonic() - began < 15
    assert (codes(report), report["reachable"]) == (["repository_refused"], False)
    assert secret not in str(refused.value) + str(report)


def test_a_reader_s_keys_are_not_enough(desk: Desk) -> None:
    keys = s3_server.credentials(desk.folder / "r.env", s3_server.READER_KEY, s3_server.READER_SECRET)
    report = desk.run(probe.probe, replace(desk.place("seaweedfs", "read"), credentials_file=keys))
    assert codes(report) == ["repository_refused"]
    assert "refuses to write an object" in report["findings"][0]["message"]


def test_a_bucket_is_made_only_when_asked_for(desk: Desk, store: s3_server.ObjectStore) -> None:
    place = replace(desk.place("seaweedfs", "x"), url=f"s3:{store.endpoint}/fresh/x")
    assert codes(desk.run(probe.probe, place)) == ["bucket_missing"]
    with pytest.raises(errors.BucketMissing):
        desk.repository(place).init()
    assert "fresh" not in [bucket["Name"] for bucket in store.client().list_buckets()["Buckets"]]
    assert desk.run(probe.probe, place, create_bucket=True)["ok"]
    assert desk.repository(place).init()


def test_versions_and_locks_of_a_bucket_are_told(desk: Desk, store: s3_server.ObjectStore) -> None:
    plain = desk.place("seaweedfs", "x")
    versioned = replace(plain, url=store.with_bucket("versioned", versioned=True).url)
    locked = replace(plain, url=store.with_bucket("locked", lock_days=3).url)
    append_only = PlaceOptions(append_only=True)
    assert notes(desk.run(probe.probe, versioned)) == ["versioned", "repository_missing"]
    report = desk.run(probe.probe, replace(locked, options=append_only))
    assert (notes(report)[0], report["figures"]["lock_days"]) == ("object_lock", 3)
    assert codes(desk.run(probe.probe, replace(plain, options=append_only))) == ["unprotected", "removes"]


def test_a_clock_that_is_wrong_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    place, now = desk.place("seaweedfs", "clock"), time.time
    monkeypatch.setattr("backups.s3.time.time", lambda: now() - 120)
    assert codes(desk.run(probe.probe, place)) == ["clock_wrong"]


@pytest.mark.parametrize("kind", ["seaweedfs", "rest", pytest.param("sftp", marks=needs_sshd)])
def test_a_server_that_does_not_answer_is_told_at_once(desk: Desk, kind: str) -> None:
    place = desk.place(kind, "x")
    port = place.url.split(":")[3].split("/")[0] if kind != "sftp" else place.url.split(":")[2].split("/")[0]
    silent = replace(place, url=place.url.replace(port, str(servers.free_port())))
    with pytest.raises(errors.RepositoryUnreachable, match="does not answer"):
        desk.repository(silent).open()
    assert codes(desk.run(probe.probe, silent)) == ["repository_unreachable"]


def test_a_rest_server_refuses_a_wrong_password(desk: Desk) -> None:
    wrong = rest_server.credentials(desk.folder / "wrong.env", "wrong")
    with pytest.raises(errors.RepositoryRefused):
        desk.repository(replace(desk.place("rest", "x"), credentials_file=wrong)).open()


def test_whether_a_rest_server_removes_is_told(desk: Desk, rest: rest_server.RestServer) -> None:
    place, append_only = desk.place("rest", "modes"), PlaceOptions(append_only=True)
    assert codes(desk.run(probe.probe, replace(place, options=append_only))) == ["removes"]
    with rest_server.rest_server(rest.data, append_only=True) as guarded:
        there = replace(place, url=guarded.url("modes"))
        assert codes(desk.run(probe.probe, there)) == ["no_removal"]
        assert codes(desk.run(probe.probe, replace(there, options=append_only))) == []


@needs_sshd
def test_an_sftp_server_must_show_the_confirmed_key(desk: Desk, tmp_path: Path) -> None:
    with sshd.sshd(tmp_path / "first") as first:
        known = PlaceOptions(key_file=first.user_key, known_hosts_file=first.known_hosts(tmp_path / "hosts"))
        place = replace(desk.place("local", "x"), url=f"{first.url}/x", options=known)
        report = desk.run(probe.probe, place)
        assert [key["fingerprint"] for key in report["host_keys"]] == [first.fingerprint]
        stranger = replace(known, key_file=sshd.make_key(tmp_path / "stranger"))
        assert codes(desk.run(probe.probe, replace(place, options=stranger))) == ["repository_refused"]
        nobody = replace(known, known_hosts_file=tmp_path / "empty")
        with pytest.raises(errors.HostKeyUnknown) as unknown:
            desk.repository(replace(place, options=nobody)).open()
        assert first.fingerprint in unknown.value.message
    with sshd.sshd(tmp_path / "second", port=first.port) as second:
        assert codes(desk.run(probe.probe, place)) == ["host_key_changed"]
        with pytest.raises(errors.HostKeyChanged) as changed:
            desk.repository(place).open()
        assert changed.value.data == {"fingerprints": [second.fingerprint]}


def test_a_folder_that_cannot_be_written_is_told(desk: Desk) -> None:
    file = desk.folder / "file"
    file.touch()
    place = replace(desk.place("local", "x"), url=str(file / "repository"))
    assert codes(desk.run(probe.probe, place)) == ["repository_refused"]


def cut_off(desk: Desk, kind: str, line: Wire) -> RepositoryPlace:
    """A new repository at the far end of a line."""
    place = desk.place(kind, f"cut-{line.port}")
    if kind == "sftp":
        server: sshd.SshServer = desk.request.getfixturevalue("ssh")
        beyond = replace(server, port=line.port)
        known = replace(place.options, known_hosts_file=beyond.known_hosts(desk.folder / "beyond"))
        place = replace(place, url=f"{beyond.url}/cut-{line.port}", options=known)
    else:
        place = replace(place, url=place.url.replace(str(port_of(desk, kind)), str(line.port)))
    return replace(place, id=desk.repository(place).init())


def port_of(desk: Desk, kind: str) -> int:
    if kind == "sftp":
        return int(desk.request.getfixturevalue("ssh").port)
    return int(desk.request.getfixturevalue("rclone_store").store.endpoint.rpartition(":")[2])


def line_to(desk: Desk, kind: str) -> AbstractContextManager[Wire]:
    return wire(port_of(desk, kind))


def stored_through(desk: Desk, place: RepositoryPlace, limits: Limits = NONE) -> str:
    """Store the staged folder; returns the snapshot."""
    repository = desk.repository(place, limits)
    return repository.backup(cwd=desk.folder / "staged", paths=["set"], files=[], tags=["t"], host="h").snapshot_id


def same_as_staged(desk: Desk, folder: Path) -> bool:
    return (folder / "noise").read_bytes() == (desk.folder / "staged/set/noise").read_bytes()


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("silent", [False, True], ids=["refused", "silent"])
@pytest.mark.parametrize("kind", ["rclone", pytest.param("sftp", marks=needs_sshd)])
def test_a_cut_while_a_set_is_stored_is_ridden_out(desk: Desk, kind: str, silent: bool) -> None:
    """Fault 11. `--cut-seconds` says how long; over SFTP restic gives up as soon as its ssh ends."""
    fill(desk.folder, megabytes=24)
    with line_to(desk, kind) as line:
        place, seconds = cut_off(desk, kind, line), desk.request.config.getoption("--cut-seconds")
        line.cut_after(6 << 20, seconds=seconds, silent=silent)
        began = time.monotonic()
        snapshot = stored_through(desk, place)
        assert line.cuts == 1
        assert time.monotonic() - began > seconds
        desk.repository(place).restore(snapshot, folder="/set", target=desk.folder / "back")
    assert same_as_staged(desk, desk.folder / "back")


@needs_sshd
def test_a_line_that_breaks_in_a_restore_is_mended(desk: Desk) -> None:
    fill(desk.folder, megabytes=24)
    with line_to(desk, "sftp") as line:
        place, back = cut_off(desk, "sftp", line), desk.folder / "back"
        snapshot = stored_through(desk, place)
        line.cut_after(6 << 20)
        desk.repository(place).restore(snapshot, folder="/set", target=back)
        assert line.cuts == 1
        assert same_as_staged(desk, back)
        line.cut_after(6 << 20)
        (back / "noise").rename(back / "of somebody else")
        with pytest.raises(errors.RepositoryError):
            desk.repository(place).restore(snapshot, folder="/set", target=back)
        assert (back / "of somebody else").exists(), "what was there before is nobody's to empty"


@needs_sshd
def test_a_line_that_breaks_in_a_check_is_no_damage(desk: Desk, ssh: sshd.SshServer) -> None:
    fill(desk.folder, megabytes=24)
    with line_to(desk, "sftp") as line:
        place = cut_off(desk, "sftp", line)
        snapshot = stored_through(desk, place)
        repository = Maintenance(place, servers.RESTIC, desk.folder / "cache")
        line.cut_after(6 << 20)
        assert repository.check(part=1, parts=1).errors == ()
        line.cut_after(6 << 20)
        read = desk.run(readback.verify, place, snapshot=snapshot)
        assert line.cuts == 2
        assert read["bytes"] == (24 << 20) + len("what must come back")
        pack = max((ssh.data / f"cut-{line.port}/data").glob("*/*"), key=lambda path: path.stat().st_size)
        flip_bit(pack)
        repository.free_from_locks()
        assert repository.check(part=1, parts=1).packs == (pack.name,)
        assert "behind" in desk.run(readback.verify, place, snapshot=snapshot)["wrong"][0]


@needs_sshd
@pytest.mark.parametrize("end", ["source", "target"])
def test_a_line_that_breaks_in_a_copy_is_mended(desk: Desk, end: str) -> None:
    fill(desk.folder, megabytes=24)
    with line_to(desk, "sftp") as line:
        far, near = cut_off(desk, "sftp", line), desk.place("local", "near")
        near = replace(near, id=desk.repository(near).init())
        source, target = (far, near) if end == "source" else (near, far)
        snapshot = stored_through(desk, source)
        copying = Maintenance(target, servers.RESTIC, desk.folder / "cache", source=source)
        line.cut_after(6 << 20)
        copying.copy([snapshot])
        assert line.cuts == 1
        (copied,) = desk.repository(target).snapshots()
        desk.repository(target).restore(copied.id, folder="/set", target=desk.folder / "back")
    assert same_as_staged(desk, desk.folder / "back")


@needs_sshd
def test_a_set_is_copied_between_servers_with_keys_of_their_own(desk: Desk, tmp_path: Path) -> None:
    near, staged = desk.place("sftp", "one-of-two"), fill(desk.folder)
    near = replace(near, id=desk.repository(near).init())
    with sshd.sshd(tmp_path / "other") as other:
        own = PlaceOptions(key_file=other.user_key, known_hosts_file=other.known_hosts(tmp_path / "other hosts"))
        far = replace(near, id="", url=f"{other.url}/two-of-two", options=own)
        stored = desk.repository(near).backup(cwd=staged, paths=["set"], files=[], tags=["t"], host="h")
        copying = Maintenance(far, servers.RESTIC, desk.folder / "cache", source=near)
        copying.init_from()
        copying.copy([stored.snapshot_id])
        assert len(desk.repository(far).snapshots()) == 1
        with pytest.raises(errors.CredentialsInvalid, match="ports"):
            Maintenance(replace(far, options=PlaceOptions(port=1)), servers.RESTIC, desk.folder, source=near)


@needs_sshd
def test_a_server_that_stays_away_is_not_waited_for_for_ever(desk: Desk, ssh: sshd.SshServer) -> None:
    place = desk.place("sftp", "away")
    away = replace(place, url=place.url.replace(str(ssh.port), str(servers.free_port())))
    ran: list[int] = []

    def fail() -> None:
        ran.append(1)
        raise errors.ResticFailed("the line broke")

    with pytest.raises(errors.RepositoryUnreachable):
        reach.ridden_out(away, fail, patience=0)
    assert len(ran) == 1
    with pytest.raises(errors.ResticFailed):
        reach.ridden_out(place, fail)
    assert len(ran) == 1 + reach.RUNS, "the server answers: it is something else"


def test_failures_of_restic_are_explained_by_the_place(desk: Desk, rclone_store: s3_server.RcloneStore) -> None:
    """A status that leaves the reason open is looked into, whatever restic wrote."""
    place = desk.place("rclone", "explained")
    repository = desk.repository(place)
    assert isinstance(repository._failure(1, NOTHING), errors.ResticFailed)
    rclone_store.stop()
    try:
        assert isinstance(repository._failure(1, NOTHING), errors.RepositoryUnreachable)
    finally:
        rclone_store.start()
    gone = replace(place, url=f"s3:{rclone_store.store.endpoint}/nowhere/x")
    assert isinstance(desk.repository(gone)._failure(10, NOTHING), errors.BucketMissing)
