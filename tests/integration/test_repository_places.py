"""Every kind of place a repository can lie in, on real servers: a set's way there and back, and what goes wrong."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backups import errors, probe
from backups.place import PlaceOptions
from backups.restic import Complaints
from tests.support import rest_server, s3_server, servers, sshd
from tests.support.repository_desk import KINDS, Desk, desk, fill, needs_sshd, rclone_store, rest, ssh, store

__all__ = ["desk", "rclone_store", "rest", "ssh", "store"]
pytestmark = pytest.mark.integration
NOTHING = Complaints("", ())


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
