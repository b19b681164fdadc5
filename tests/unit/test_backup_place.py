"""Addresses, credentials and the words that ssh and restic are given, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from backups.errors import AddressInvalid, CredentialsInvalid, HostKeyChanged, HostKeyUnknown
from backups.fields import Fields
from backups.job import RepositoryPlace
from backups.place import (
    LOCAL,
    NO_OPTIONS,
    REST,
    S3,
    SFTP,
    Address,
    PlaceOptions,
    parse_credentials,
    read_credentials,
    restic_options,
)
from backups.reach import credentials_of
from backups.restic import environment, placed
from backups.sftp import batch_argv, judge, keyscan_argv, known_argv, read_keys


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/srv/r", Address(LOCAL, "/srv/r")),
        ("local:/srv/r/", Address(LOCAL, "/srv/r")),
        ("s3:https://h/b", Address(S3, "", "h", 443, bucket="b", scheme="https")),
        ("s3:http://h:9000/b/p/q/", Address(S3, "p/q", "h", 9000, bucket="b", scheme="http")),
        ("s3:h/b/p", Address(S3, "p", "h", 443, bucket="b", scheme="https")),
        ("s3://h/b", Address(S3, "", "h", 443, bucket="b", scheme="https")),
        ("rest:http://h:8000/r/", Address(REST, "/r/", "h", 8000, scheme="http")),
        ("sftp:u@h:/srv/r", Address(SFTP, "/srv/r", "h", 22, "u")),
        ("sftp:h:r", Address(SFTP, "r", "h", 22)),
        ("sftp:u@[::1]:/r", Address(SFTP, "/r", "::1", 22, "u")),
        ("sftp://u@h:2222//srv/r", Address(SFTP, "/srv/r", "h", 2222, "u")),
    ],
)
def test_addresses(url: str, expected: Address) -> None:
    assert Address.read(url) == expected


def test_options_go_into_rows_and_back() -> None:
    options = PlaceOptions(region="eu", key_file=Path("/k"), port=2222)
    assert options.to_json() == {"region": "eu", "key_file": "/k", "port": 2222}
    assert PlaceOptions.read(Fields(options.to_json(), "options")) == options
    assert NO_OPTIONS.to_json() == {}


@pytest.mark.parametrize(
    "url",
    ["", "r", "./r", "b2:b", "s3:", "s3:https://h/", "s3:ftp://h/b", "rest:h", "rest:ssh://h/", "sftp:h", "sftp:u@h:",
     "s3:https://h:99999/b", "sftp://u@h:x//r", "rest:http://[::1/"],
)  # fmt: skip
def test_bad_addresses_are_refused_by_name(url: str) -> None:
    with pytest.raises(AddressInvalid, match=r"^url: "):
        Address.read(url)


@pytest.mark.parametrize("url", ["rest:http://u:pw@h/", "s3:https://k:pw@h/b", "sftp://u:pw@h//r"])
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(AddressInvalid, match="user or a password") as refused:
        Address.read(url)
    assert "pw" not in refused.value.message.replace("password", "")


def test_credentials_are_read_as_people_write_them() -> None:
    text = "# keys\n\nAWS_ACCESS_KEY_ID=a=b\nexport AWS_SECRET_ACCESS_KEY='with blank '\n"
    assert parse_credentials(text, "f") == {"AWS_ACCESS_KEY_ID": "a=b", "AWS_SECRET_ACCESS_KEY": "with blank "}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("AWS_KEY=1\nsecret-thing\n", "f: line 2: expected NAME=VALUE"),
        ("LD_PRELOAD=x", "f: LD_PRELOAD is no credential"),
    ],
)
def test_credentials_that_are_none_are_refused_without_their_value(text: str, says: str) -> None:
    with pytest.raises(CredentialsInvalid) as refused:
        parse_credentials(text, "f")
    assert refused.value.message.startswith(says)
    assert "secret-thing" not in refused.value.message


def test_a_credentials_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsInvalid, match=r"keys\.env cannot be read: no such file"):
        read_credentials(tmp_path / "keys.env")


def test_a_place_s_own_credentials_are_not_mixed_with_ours(tmp_path: Path) -> None:
    inherited = {"AWS_ACCESS_KEY_ID": "ours", "AWS_PROFILE": "ours", "PATH": "/bin"}
    found = environment("s3:x", Path("/p"), Path("/c"), inherited, credentials={"AWS_ACCESS_KEY_ID": "its"})
    assert (found["AWS_ACCESS_KEY_ID"], "AWS_PROFILE" in found, found["PATH"]) == ("its", False, "/bin")
    (tmp_path / "keys").write_text("AWS_ACCESS_KEY_ID=its\n")
    place = RepositoryPlace("", "s3:x", Path("/p"), tmp_path / "keys")
    assert credentials_of(place, inherited) == {"AWS_ACCESS_KEY_ID": "its"}
    assert credentials_of(RepositoryPlace("", "s3:x", Path("/p")), inherited) == {
        "AWS_ACCESS_KEY_ID": "ours", "AWS_PROFILE": "ours",
    }  # fmt: skip


SSH = (
    "-o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=20 "
    "-o ServerAliveInterval=30 -o ServerAliveCountMax=24"
)


def test_restic_s_options_for_each_place() -> None:
    assert restic_options(LOCAL, NO_OPTIONS) == ()
    own = PlaceOptions(region="eu-1", ca_file=Path("/ca"))
    assert restic_options(S3, own) == ("--cacert", "/ca", "-o", "s3.region=eu-1")
    assert restic_options(REST, own) == ("--cacert", "/ca")
    assert restic_options(SFTP, PlaceOptions(port=2222)) == ("-o", f"sftp.args=-p 2222 {SSH}")
    known = PlaceOptions(key_file=Path("/a b/key"), known_hosts_file=Path("/a b/hosts"))
    assert restic_options(SFTP, known) == (
        "-o",
        # read as a line of CSV, then as a shell's words, then by ssh
        '"sftp.args=-i \'/a b/key\' -o IdentitiesOnly=yes -o \'UserKnownHostsFile=""/a b/hosts""\' '
        f'-o GlobalKnownHostsFile=/dev/null {SSH}"',
    )
    both = restic_options(SFTP, PlaceOptions(key_file=Path("/a")), PlaceOptions(known_hosts_file=Path("/h")))
    assert both[1] == f'"sftp.args=-i /a -o \'UserKnownHostsFile=~/.ssh/known_hosts ""/h""\' {SSH}"'
    assert placed(("restic", "--json", "init"), ("--cacert", "/ca")) == ("restic", "--cacert", "/ca", "--json", "init")


def test_the_words_for_ssh_s_programs() -> None:
    address = Address.read("sftp://u@h:2222//r")
    assert keyscan_argv("h", 2222) == ("ssh-keyscan", "-T", "10", "-p", "2222", "h")
    assert known_argv("h", 22, Path("/k")) == ("ssh-keygen", "-F", "h", "-f", "/k")
    assert known_argv("h", 2222, Path("/k")) == ("ssh-keygen", "-F", "[h]:2222", "-f", "/k")
    assert batch_argv(address, NO_OPTIONS) == ("sftp", "-q", *SSH.split(), "-P", "2222", "-b", "-", "u@h")


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIEXjh1tjMVnKzXzJZ2oUPtDPjzT0Z6Gx5w5HQ8ZtJmZq"


def test_a_server_s_key_is_judged_by_the_key_itself() -> None:
    address = Address.read("sftp:u@h:/r")
    shown = read_keys(f"# h:22 SSH-2.0\nh ssh-ed25519 {KEY}\n")
    assert shown[0].fingerprint.startswith("SHA256:")
    judge(address, shown, read_keys(f"# Host h found: line 1\n|1|aGFzaA== ssh-ed25519 {KEY} comment\n"))
    with pytest.raises(HostKeyUnknown):
        judge(address, shown, [])
    with pytest.raises(HostKeyChanged):
        judge(address, shown, read_keys(f"h ssh-ed25519 {KEY[:-4]}AAAA\n"))


def test_a_job_s_place_is_read_with_its_options() -> None:
    place = RepositoryPlace.read(
        Fields(
            {"url": "sftp:h:/r", "password_file": "/p", "credentials_file": None, "options": {"key_file": "/k"}}, "r"
        )
    )
    assert (place.credentials_file, place.options) == (None, PlaceOptions(key_file=Path("/k")))
