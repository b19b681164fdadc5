"""Looking at an SFTP server before restic does: is it there, is it the known one, does it let us in.

`ssh` ends with 255 for each of these, so each is asked for by itself.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from backups.errors import (
    CredentialsInvalid,
    HostKeyChanged,
    HostKeyUnknown,
    RepositoryRefused,
    RepositoryUnreachable,
    ToolMissing,
)
from backups.findings import ERROR, Finding
from backups.place import Address, PlaceOptions, ssh_argv
from backups.process import ProcessError, run

SECONDS = 10
EXIT_CONNECTION = 255
# Where ssh itself looks for the keys of servers.
ACCOUNT_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
INSTALL = "Install it (Debian, Ubuntu: apt-get install openssh-client)."


@dataclass(frozen=True, slots=True)
class HostKey:
    """A key that a server shows. `line`: as a known_hosts file holds it."""

    kind: str
    key: str
    line: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: `SHA256:...`."""
        digest = hashlib.sha256(base64.b64decode(self.key)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def to_json(self) -> dict[str, str]:
        return {"kind": self.kind, "fingerprint": self.fingerprint, "line": self.line}


def read_keys(text: str) -> list[HostKey]:
    """The keys among lines of `HOST KIND KEY`; comments and lines with a marker are left out."""
    words = [line.split() for line in text.splitlines() if line and line[0] not in "#@"]
    return [HostKey(found[1], found[2], " ".join(found[:3])) for found in words if len(found) >= 3]


def keyscan_argv(host: str, port: int) -> tuple[str, ...]:
    return ("ssh-keyscan", "-T", str(SECONDS), "-p", str(port), host)


def known_argv(host: str, port: int, file: Path) -> tuple[str, ...]:
    """Look a host up, also where its name is hashed."""
    return ("ssh-keygen", "-F", host if port == 22 else f"[{host}]:{port}", "-f", str(file))


def usable_argv(file: Path) -> tuple[str, ...]:
    """Take the public half out of a private key: fails for one that a passphrase guards."""
    return ("ssh-keygen", "-y", "-P", "", "-f", str(file))


def batch_argv(address: Address, options: PlaceOptions) -> tuple[str, ...]:
    """`sftp` with commands from its standard input."""
    target = f"{address.user}@{address.host}" if address.user else address.host
    return ("sftp", "-q", *ssh_argv(options), "-P", str(port_of(address, options)), "-b", "-", target)


def port_of(address: Address, options: PlaceOptions) -> int:
    return options.port or address.port


def host_keys(address: Address, options: PlaceOptions) -> list[HostKey]:
    """The keys that the server shows to anybody.

    Raises:
        RepositoryUnreachable: it does not answer.
    """
    port = port_of(address, options)
    try:
        socket.create_connection((address.host, port), timeout=SECONDS).close()
    except OSError:
        raise RepositoryUnreachable(f"the SFTP server {address.host}, port {port}, does not answer") from None
    keys = read_keys(_run(keyscan_argv(address.host, port)))
    if not keys:
        raise RepositoryUnreachable(f"what answers at {address.host}, port {port}, is no SSH server")
    return keys


def demand(address: Address, options: PlaceOptions) -> None:
    """Prove that the server answers and is the known one; without a hosts file of ours, ssh judges by the account's.

    Raises:
        RepositoryUnreachable, HostKeyUnknown, HostKeyChanged
    """
    shown = host_keys(address, options)
    if options.known_hosts_file is not None:
        judge(address, shown, _known(address, options, options.known_hosts_file))


def judge(address: Address, shown: list[HostKey], known: list[HostKey]) -> None:
    """Compare the keys a server shows with those that are known.

    Raises:
        HostKeyUnknown, HostKeyChanged: with the `fingerprints` shown.
    """
    fingerprints = [key.fingerprint for key in shown]
    if not known:
        raise HostKeyUnknown(
            f"nobody has confirmed yet which key {address.host} has; it shows {', '.join(fingerprints)}",
            fingerprints=fingerprints,
        )
    if not {key.key for key in shown} & {key.key for key in known}:
        raise HostKeyChanged(
            f"{address.host} shows another key than the known one: {', '.join(fingerprints)}", fingerprints=fingerprints
        )


def confirm(shown: list[HostKey], fingerprint: str) -> list[HostKey]:
    """The keys among those shown that have the fingerprint which somebody confirmed.

    Raises:
        HostKeyUnknown: none was confirmed.
        HostKeyChanged: the server shows another one.
    """
    found = [key for key in shown if key.fingerprint == fingerprint.strip()]
    if found:
        return found
    listed = ", ".join(f"{key.fingerprint} ({key.kind})" for key in shown)
    wanted = f"not {fingerprint.strip()}" if fingerprint else "and none was confirmed yet"
    refusal = HostKeyChanged if fingerprint else HostKeyUnknown
    raise refusal(
        f"host_key: the server shows {listed}, {wanted}",
        "Compare it with what the server's administrator says, and give the fingerprint that is right "
        "(on a command line: --host-key SHA256:...).",
        host_keys=[key.to_json() for key in shown],
    )


def confirmed(address: Address, options: PlaceOptions, fingerprint: str) -> list[HostKey]:
    """The keys that the server shows and somebody confirmed: by fingerprint, or earlier to this account's ssh.

    Raises:
        RepositoryUnreachable, HostKeyUnknown, HostKeyChanged
    """
    shown = host_keys(address, options)
    if fingerprint:
        return confirm(shown, fingerprint)
    known = [key for file in ACCOUNT_HOSTS for key in _known(address, options, Path(file).expanduser())]
    if not known:
        return confirm(shown, fingerprint)
    judge(address, shown, known)
    return [key for key in shown if key.key in {one.key for one in known}]


def look(address: Address, options: PlaceOptions) -> tuple[list[Finding], dict[str, int]]:
    """Sign in: the findings, and figures `free_bytes` and `total_bytes` where the server tells.

    Raises:
        RepositoryUnreachable, RepositoryRefused, HostKeyUnknown, HostKeyChanged
    """
    demand(address, options)
    listing = sign_in(address, options)
    return list(_try_out(address, options)), _space(listing)


def sign_in(address: Address, options: PlaceOptions) -> str:
    """Sign in and return what the server says about the space of the folder.

    Raises:
        RepositoryRefused: it does not let us in.
        CredentialsInvalid: nor could it, with this key.
        RepositoryUnreachable
    """
    parent = str(PurePosixPath(address.path).parent)
    listing = _batch(address, options, [f"-df {_quoted(folder)}" for folder in (address.path, parent)])
    if listing is None:
        if options.key_file is not None:
            _demand_key(options.key_file)
        user = address.user or "this account"
        raise RepositoryRefused(
            f"the SFTP server {address.host} does not let {user} in",
            "Put the public half of the key into the server's authorized_keys of that account.",
        )
    return listing[1]


def _demand_key(file: Path) -> None:
    """
    Raises:
        CredentialsInvalid: nobody can sign in with this key and without a question.
    """
    if not os.access(file, os.R_OK):
        raise CredentialsInvalid(f"the private key {file} is missing or may not be read", "Put it there again.")
    if run(usable_argv(file), timeout=SECONDS, check=False).returncode != 0:
        raise CredentialsInvalid(
            f"the private key {file} cannot be used: it is damaged, or a passphrase guards it",
            "Give a key without a passphrase, made for this purpose alone: ssh-keygen -t ed25519 -N '' -f backup_key.",
        )


def _try_out(address: Address, options: PlaceOptions) -> Iterator[Finding]:
    """Write and remove a file in the folder; a folder that is not there yet is made when the repository is."""
    there = _batch(address, options, [f"ls {_quoted(address.path)}"])
    if there is None or there[0] != 0:
        return
    with tempfile.NamedTemporaryFile(prefix="ragkeep-probe-") as file:
        remote = _quoted(f"{address.path.rstrip('/')}/ragkeep-probe-{secrets.token_hex(4)}")
        tried = _batch(address, options, [f"put {_quoted(file.name)} {remote}", f"rm {remote}"])
    if tried is None or tried[0] != 0:
        yield Finding(
            ERROR,
            RepositoryRefused.code,
            f"A file cannot be written and removed in {address.path} on {address.host}.",
            "Give the folder to the account that signs in.",
        )


def _batch(address: Address, options: PlaceOptions, commands: list[str]) -> tuple[int, str] | None:
    """Exit status and output; None when the server did not let us in."""
    try:
        done = run(batch_argv(address, options), stdin="\n".join(commands) + "\n", timeout=3 * SECONDS, check=False)
    except ProcessError as error:
        raise _tool_or_silence(error, address) from None
    return None if done.returncode == EXIT_CONNECTION else (done.returncode, done.stdout)


def _tool_or_silence(error: ProcessError, address: Address) -> ToolMissing | RepositoryUnreachable:
    if shutil.which(error.program) is None:
        return ToolMissing(
            f"the program {error.program} is not installed",
            INSTALL,
        )
    return RepositoryUnreachable(f"the SFTP server {address.host} stopped answering")


def _known(address: Address, options: PlaceOptions, file: Path) -> list[HostKey]:
    if not os.access(file, os.R_OK):
        return []
    return read_keys(_run(known_argv(address.host, port_of(address, options), file)))


def _run(argv: tuple[str, ...]) -> str:
    try:
        return run(argv, timeout=2 * SECONDS, check=False).stdout
    except ProcessError as error:
        if shutil.which(argv[0]) is None:
            raise ToolMissing(
                f"the program {argv[0]} is not installed",
                INSTALL,
            ) from None
        raise RepositoryUnreachable(str(error)) from None


def _space(text: str) -> dict[str, int]:
    """`df` of sftp: a heading, then size, used, available in KiB."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and all(word.isdigit() for word in words[:4]):
            return {"total_bytes": int(words[0]) * 1024, "free_bytes": int(words[2]) * 1024}
    return {}


def _quoted(path: str) -> str:
    """A path for sftp's command line."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
