"""Lines to repositories that break while something is stored, restored, checked or copied."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from backups import errors, reach, readback
from backups.job import RepositoryPlace
from backups.limits import NONE, Limits
from backups.maintenance import Maintenance
from backups.place import PlaceOptions
from tests.support import servers, sshd
from tests.support.repository_desk import Desk, desk, fill, needs_sshd, rclone_store, rest, ssh, store
from tests.support.vault import flip_bit
from tests.support.wire import Wire, wire

__all__ = ["desk", "rclone_store", "rest", "ssh", "store"]
pytestmark = pytest.mark.integration


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
