"""Recovery and rescue from places behind a network: a real sshd with a confirmed key, https with an own authority."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pytest_django import Settings

from backups import process
from backups.__main__ import main
from backups.access import Access
from backups.errors import HostKeyChanged
from backups.job import RepositoryPlace
from backups.place import PlaceOptions, credentials_text, restic_options
from backups.repository import Repository
from backups.restic import environment
from backups.secret import Secret
from config.cli import prove_key, recover
from config.cli.recovery_place import Asked, kept_place
from portal.operations.errors import OperationRefused
from portal.vaults.keyproof import key_prove
from portal.vaults.models import Repository as Row
from portal.vaults.recoverycard import recovery_card
from tests.support import rest_server, servers, sshd
from tests.support.vault import TAKEN, Vault, store_set, vault

__all__ = ["vault"]
pytestmark = pytest.mark.integration
needs_sshd = pytest.mark.skipif(sshd.program() is None, reason="no sshd: apt-get install openssh-server")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: apt-get install openssl")
KEY = "test-key-of-nobody"


@dataclass(frozen=True, slots=True)
class Kit:
    """What somebody kept away from the machine, with a repository that holds one set. `words`: for a command line."""

    place: RepositoryPlace
    set_id: str
    words: list[str]

    def call(self, *words: str, **instead: str | None) -> list[str]:
        """A command line; `instead` replaces the values of options, None leaves them out."""
        options = dict(zip(self.words[::2], self.words[1::2], strict=True))
        options |= {f"--{name.replace('_', '-')}": value for name, value in instead.items() if value}
        gone = {f"--{name.replace('_', '-')}" for name, value in instead.items() if value is None}
        return [*words, *(word for name, value in options.items() if name not in gone for word in (name, value))]


def filled(folder: Path, place: RepositoryPlace, kind: str, env: dict[str, str]) -> str:
    """Make a repository in a place and store a small set there; returns the set's id."""
    made = Repository(place, servers.RESTIC, folder / "cache")
    made.init()
    full = environment(place.url, place.password_file, folder / "cache", credentials=env)
    options = restic_options(kind, place.options)

    def restic(words: Sequence[str], cwd: Path) -> None:
        process.run((servers.RESTIC, *options, *words), env=full, cwd=cwd)

    return store_set(folder / "work", TAKEN, restic)


def safe_place(folder: Path) -> Path:
    """A folder with the key."""
    folder.mkdir()
    (folder / "password").write_text(f"{KEY}\n")
    return folder


@pytest.fixture(scope="module")
def nas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sshd.SshServer, Kit]]:
    folder = tmp_path_factory.mktemp("nas")
    with sshd.sshd(folder / "ssh") as server:
        known = PlaceOptions(key_file=server.user_key, known_hosts_file=server.known_hosts(folder / "known_hosts"))
        safe = safe_place(folder / "safe")
        # As a mail brought it: with Windows' ends of lines, and to be read by everybody.
        (safe / "ssh_key").write_text(server.user_key.read_text().replace("\n", "\r\n"), newline="")
        (safe / "ssh_key").chmod(0o644)
        sshd.make_key(safe / "other")
        process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(safe / "guarded")])
        place = RepositoryPlace("", f"{server.url}/r", safe / "password", options=known)
        words = ["--repository", place.url, "--password-file", str(safe / "password")]
        words += ["--key-file", str(safe / "ssh_key"), "--host-key", server.fingerprint]
        yield server, Kit(place, filled(folder, place, "sftp", {}), words)


@pytest.fixture(autouse=True)
def own_ssh_knows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where our account's ssh would keep the keys of servers."""
    file = tmp_path / "account_hosts"
    monkeypatch.setattr("backups.sftp.ACCOUNT_HOSTS", (str(file),))
    return file


Rescue = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rescue(capsys: pytest.CaptureFixture[str]) -> Rescue:
    """Run a rescue command: its status, standard output and standard error."""

    def run(words: list[str]) -> tuple[int, str, str]:
        status = main([*words, "--restic", str(servers.RESTIC)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@needs_sshd
def test_a_set_on_an_sftp_server_is_rescued_with_key_and_host_key_alone(
    nas: tuple[sshd.SshServer, Kit], rescue: Rescue, tmp_path: Path
) -> None:
    _, kit = nas
    status, out, err = rescue(kit.call("list", "--json"))
    assert (status, [one["set"] for one in json.loads(out)["sets"]]) == (0, [kit.set_id]), err
    status, out, err = rescue(kit.call("verify", "--set", "latest", "--json"))
    assert (status, json.loads(out)["files"]) == (0, {"config": 2}), err
    target = tmp_path / "back"
    status, _, err = rescue(kit.call("restore", "--set", kit.set_id, "--target", str(target)))
    assert (status, (target / "config/stack.yaml").read_text()) == (0, f"name: {kit.set_id}\n"), err


@needs_sshd
def test_a_server_that_the_own_ssh_knows_needs_no_fingerprint(
    nas: tuple[sshd.SshServer, Kit], rescue: Rescue, own_ssh_knows_nothing: Path
) -> None:
    server, kit = nas
    server.known_hosts(own_ssh_knows_nothing)
    assert rescue(kit.call("list", host_key=None))[0] == 0
    own_ssh_knows_nothing.write_text(own_ssh_knows_nothing.read_text()[:-20] + "A" * 19 + "\n")
    status, out, _ = rescue(kit.call("list", "--json", host_key=None))
    assert (status, json.loads(out)["error"]["code"]) == (1, HostKeyChanged.code)


MISTAKES: dict[str, tuple[dict[str, str | None], str, str]] = {
    "no host key": ({"host_key": None}, "host_key_unknown", "{fingerprint}"),
    "another host key": (
        {"host_key": "SHA256:of-another-machine"},
        "host_key_changed",
        "not SHA256:of-another-machine",
    ),
    "no such file": ({"key_file": "/nowhere/backup_key"}, "", "/nowhere/backup_key"),
    "the public half": ({"key_file": "{user_key}.pub"}, "credentials_invalid", "no private key"),
    "another key": ({"key_file": "{safe}/other"}, "repository_refused", "does not let"),
    "the repository's key": ({"key_file": "{safe}/password"}, "credentials_invalid", "no private key"),
    "a passphrase": ({"key_file": "{safe}/guarded"}, "credentials_invalid", "a passphrase guards it"),
    "no authority": ({"ca_file": "{user_key}"}, "credentials_invalid", "no certificate"),
    "no such repository": ({"repository": "{url}/nowhere"}, "repository_missing", "no repository"),
    "another password": ({"password_file": "{safe}/other"}, "repository_key_wrong", "does not open"),
    "a mistyped address": ({"repository": "sftp:nas"}, "address_invalid", "expected sftp:USER@HOST:/FOLDER"),
}


@needs_sshd
@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_newcomer_gets_wrong_is_said_by_both_commands(
    nas: tuple[sshd.SshServer, Kit],
    rescue: Rescue,
    mistake: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, kit = nas
    given, code, words = MISTAKES[mistake]
    safe = kit.place.password_file.parent
    values = {"user_key": server.user_key, "safe": safe, "url": server.url, "fingerprint": server.fingerprint}
    wrong = {name: value and value.format(**values) for name, value in given.items()}

    status, out, err = rescue(kit.call("list", "--json", **wrong))
    found = json.loads(out)["error"]
    assert (status, found["code"]) == (1, code or "credentials_invalid"), err
    assert words.format(**values) in found["message"]
    assert found["remedy"]

    error = refused(kit.call("--json", **wrong), tmp_path / "var", monkeypatch)
    assert error["code"] == (code or "unreadable"), error
    assert words.format(**values) in error["message"]
    assert "--host-key SHA256:..." in error["remedy"] or not code.startswith("host_key")
    assert not (tmp_path / "var" / "recovery").exists()
    assert KEY not in str(error) + str(found)


def refused(words: list[str], var: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `recover` says on a blank machine."""
    (var / "tools").mkdir(parents=True)
    (var / "tools" / "bin").symlink_to(servers.RESTIC.parent)
    monkeypatch.setenv("RAGKEEP_VAR", str(var))
    done = CliRunner().invoke(recover.command, words)
    assert done.exit_code == 1, done.output
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    assert error["remedy"]
    return error


@needs_sshd
def test_the_portal_keeps_what_reached_the_place(nas: tuple[sshd.SshServer, Kit], tmp_path: Path) -> None:
    """Copies for its owner alone; what the recovery itself used is gone afterwards, also after a killed attempt."""
    server, kit = nas
    given = {"password_file": kit.place.password_file, "key_file": Path(kit.words[5]), "host_key": server.fingerprint}
    asked = Asked.read(kit.place.url, {**given, "credentials_file": None, "ca_file": None, "region": None})
    folder, secrets = tmp_path / "recovery", tmp_path / "secrets"
    (folder / "place").mkdir(parents=True)
    (folder / "place" / "key").write_text("of an attempt that was killed")
    for _ in range(2):
        with asked.placed(folder) as place:
            kept = kept_place(place, secrets, "nas")
        assert not folder.exists()
        assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in (secrets / "repositories").iterdir()} == {
            "nas.password": 0o600, "nas.key": 0o600, "nas.known_hosts": 0o600,
        }  # fmt: skip
    told = kept.options.to_json()
    assert {name: Path(value).name for name, value in told.items()} == {
        "key_file": "nas.key", "known_hosts_file": "nas.known_hosts",
    }  # fmt: skip
    assert Repository(kept, servers.RESTIC, tmp_path / "cache").open()


@pytest.fixture
def row(nas: tuple[sshd.SshServer, Kit], vault: Vault, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Row:
    """The repository as the portal of the lost machine knew it."""
    _, kit = nas
    (vault.root / "tools").mkdir()
    (vault.root / "tools" / "bin").symlink_to(servers.RESTIC.parent)
    return Row.objects.create(
        name="nas", url=kit.place.url, password_file=str(kit.place.password_file), options=kit.place.options.to_json(),
        restic_id=Repository(kit.place, servers.RESTIC, vault.root / "cache").open(),
    )  # fmt: skip


@needs_sshd
@pytest.mark.django_db
def test_the_card_has_the_command_that_works(nas: tuple[sshd.SshServer, Kit], row: Row, rescue: Rescue) -> None:
    server, kit = nas
    card = recovery_card(row)
    assert len(card.key_id) == 64
    assert [(one.flag, one.path) for one in card.needed] == [("--key-file", str(server.user_key))]
    assert card.command == (
        f"python3 manage.py recover --repository {kit.place.url} --password-file KEY_FILE --key-file SSH_KEY_FILE "
        f"--host-key {server.fingerprint}"
    )
    told = json.dumps(card.to_json(), default=str)
    for secret in (KEY, *server.user_key.read_text().splitlines()[1:3]):
        assert secret not in told
    files = {"KEY_FILE": kit.words[3], "SSH_KEY_FILE": kit.words[5]}
    typed = [files.get(word, word) for word in card.command.split()[3:]]
    assert rescue(["list", *typed])[0] == 0


@pytest.mark.django_db
def test_the_card_names_every_file_and_fact_of_other_places(vault: Vault) -> None:
    here = "127.0.0.1"
    options: dict[str, object] = {"region": "eu-1", "ca_file": "/ca"}
    store = Row(name="s", url=f"s3:https://{here}:9/b", password_file="/p", credentials_file="/s.env", options=options)
    store.save()
    assert recovery_card(store).command.partition("KEY_FILE ")[2] == (
        "--credentials-file CREDENTIALS_FILE --ca-file CA_FILE --region eu-1"
    )
    account = Row.objects.create(name="a", url=f"sftp:b@{here}:/r", password_file="/p", options={"port": 9})
    card = recovery_card(account)
    assert (card.url, card.needed[0].path) == (f"sftp://b@{here}:9//r", "~/.ssh of the account that Ragkeep runs as")
    folder = recovery_card(Row.objects.create(name="f", url="/mnt/a disk", password_file="/p"))
    assert folder.command == "python3 manage.py recover --repository '/mnt/a disk' --password-file KEY_FILE"


@needs_sshd
@pytest.mark.django_db
def test_the_other_files_are_proven_with_the_key(nas: tuple[sshd.SshServer, Kit], row: Row, tmp_path: Path) -> None:
    _, kit = nas
    mine = Access(private_key=Path(kit.words[5]).read_text())
    assert key_prove(repository=row, typed=Secret(KEY), access=mine).passed
    assert not key_prove(repository=row, typed=Secret("another"), access=mine).passed
    stranger = Access(private_key=sshd.make_key(tmp_path / "stranger").read_text())
    assert key_prove(repository=row, typed=Secret(KEY)).passed, "by the portal's own"
    with pytest.raises(OperationRefused, match="does not let"):
        key_prove(repository=row, typed=Secret(KEY), access=stranger)
    typed = CliRunner().invoke(prove_key.command, ["nas", *kit.words[4:], "--json"], input=f"{KEY}\n")
    assert json.loads(typed.stdout)["passed"] is True


@needs_openssl
def test_a_server_behind_an_own_authority_is_reached_with_its_certificate(tmp_path: Path, rescue: Rescue) -> None:
    safe = safe_place(tmp_path / "safe")
    certificate, private = safe / "ca.pem", tmp_path / "server.key"
    process.run([
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(private), "-out", str(certificate),
    ])  # fmt: skip
    rest_server.credentials(safe / "rest.env")
    with rest_server.rest_server(tmp_path / "data", tls=(certificate, private)) as server:
        names = {"RESTIC_REST_USERNAME": rest_server.USER, "RESTIC_REST_PASSWORD": rest_server.PASSWORD}
        assert credentials_text(names) == (safe / "rest.env").read_text().rstrip("\n")
        place = RepositoryPlace("", server.url("r"), safe / "password", safe / "rest.env")
        place = replace(place, options=PlaceOptions(ca_file=certificate))
        words = ["--repository", place.url, "--password-file", str(safe / "password")]
        words += ["--credentials-file", str(safe / "rest.env"), "--ca-file", str(certificate)]
        kit = Kit(place, filled(tmp_path, place, "rest", names), words)
        status, out, err = rescue(kit.call("verify", "--set", "latest", "--json"))
        assert (status, json.loads(out)["files"]) == (0, {"config": 2}), err
        plain = {"RESTIC_CACERT": str(certificate), **environment(place.url, place.password_file, tmp_path / "cache")}
        listed = process.run((servers.RESTIC, "snapshots", "--json"), env={**plain, **names}).stdout
        assert kit.set_id in listed, "as docs/how-to/rescue.md tells"
        status, _, err = rescue(kit.call("list", ca_file=None))
        assert (status, "--ca-file" in err) == (1, True), err
