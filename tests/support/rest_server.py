"""A real server of restic's REST protocol: `rclone serve restic`, also append-only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLCertVerificationError
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from backups import process
from tests.support import servers

USER, PASSWORD = "ragkeep", "test-password-of-nobody"


@dataclass(frozen=True, slots=True)
class RestServer:
    """A running server. `data`: the folder that it keeps repositories in."""

    endpoint: str
    data: Path

    def url(self, name: str) -> str:
        """What restic takes for a repository of this server."""
        return f"rest:{self.endpoint}/{name}/"

    def answers(self) -> bool:
        try:
            urlopen(self.endpoint, timeout=2).close()  # noqa: S310 - loopback only
        except HTTPError:
            return True
        except URLError as error:
            return isinstance(error.reason, SSLCertVerificationError)
        except OSError:
            return False
        return True


def credentials(path: Path, password: str = PASSWORD) -> Path:
    """A credentials file as an operator writes it."""
    path.write_text(f"RESTIC_REST_USERNAME={USER}\nRESTIC_REST_PASSWORD={password}\n")
    path.chmod(0o600)
    return path


@contextmanager
def rest_server(data: Path, *, append_only: bool = False, tls: tuple[Path, Path] | None = None) -> Iterator[RestServer]:
    """rclone's REST server on a folder; two of them can share one, of which one is append-only.

    `tls`: certificate and private key of an https server.
    """
    data.mkdir(parents=True, exist_ok=True)
    port = servers.free_port()
    argv = [str(servers.BIN / "rclone"), "--config", "", "serve", "restic", str(data), "--addr", f"127.0.0.1:{port}"]
    argv += ["--user", USER, "--pass", PASSWORD, *(["--append-only"] if append_only else [])]
    argv += ["--cert", str(tls[0]), "--key", str(tls[1])] if tls else []
    server = RestServer(f"{'https' if tls else 'http'}://127.0.0.1:{port}", data)
    with process.Running(argv) as running:
        running.discard_output()
        servers.wait_until(server.answers, what="rclone's REST server")
        yield server
