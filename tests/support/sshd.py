"""The machine's own sshd as an ordinary program: own port, own host key, one key that may sign in."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backups import process
from config import tiers
from tests.support import servers


@dataclass(slots=True)
class SshServer:
    """A running sshd. `host_key`: its private key's file; `user_key`: the one that it lets in; `data`: a folder."""

    port: int
    user: str
    host_key: Path
    user_key: Path
    data: Path

    @property
    def url(self) -> str:
        return f"sftp://{self.user}@127.0.0.1:{self.port}/{self.data}"

    @property
    def fingerprint(self) -> str:
        """Of its host key, as ssh-keygen prints it."""
        return process.run(["ssh-keygen", "-lf", str(self.host_key)]).stdout.split()[1]

    def known_hosts(self, path: Path) -> Path:
        """A hosts file that knows this server."""
        kind, key = self.host_key.with_suffix(".pub").read_text().split()[:2]
        path.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        return path

    def drop_connections(self) -> int:
        """Cut everybody who is signed in off, as a broken line does; returns how many processes that ended."""
        parents = {int(self.host_key.with_name("sshd.pid").read_text())}
        dropped = 0
        for _ in range(3):  # the listener's children, and theirs
            children = {pid for pid, parent in _processes() if parent in parents}
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            dropped, parents = dropped + len(children), children
        return dropped

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
        except OSError:
            return False
        return True


def _processes() -> Iterator[tuple[int, int]]:
    """Every process and its parent."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def program() -> str | None:
    """sshd must be started by its whole path; it lies where an ordinary user's PATH does not lead."""
    return tiers.sshd(os.environ)


def make_key(path: Path) -> Path:
    path.unlink(missing_ok=True)
    process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], stdin="y\n")
    return path


@contextmanager
def sshd(folder: Path, port: int | None = None) -> Iterator[SshServer]:
    """An sshd with a fresh host key; on the same `port` it is another machine in the place of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir(exist_ok=True)
    host_key, user_key = make_key(folder / "host_key"), make_key(folder / "user_key")
    server = SshServer(port or servers.free_port(), _user(), host_key, user_key, data)
    allowed = folder / "authorized_keys"
    allowed.write_text(user_key.with_suffix(".pub").read_text())
    config = folder / "sshd_config"
    config.write_text(
        f"Port {server.port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nAuthorizedKeysFile {allowed}\n"
        f"PidFile {folder}/sshd.pid\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
        f"StrictModes no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    found = program()
    assert found is not None, "sshd is not installed"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with process.Running([found, "-D", "-e", "-f", str(config)]) as running:
        running.discard_output()
        servers.wait_until(server.answers, what="sshd")
        yield server


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return getpass.getuser()
