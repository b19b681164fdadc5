"""A real container registry on loopback: the distribution's `docker-registry`, unpacked and not installed.

A Docker Engine trusts registries on 127.0.0.0/8 without TLS.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import bcrypt

from backups import process
from config import apt
from tests.support import servers
from tests.support.docker_engine import STATE, Engine

PACKAGE = "docker-registry"


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry; `host` is what its images' names begin with."""

    host: str

    def name(self, image: str) -> str:
        """An image's whole name."""
        return f"{self.host}/{image}"

    def answers(self) -> bool:
        try:
            urlopen(f"http://{self.host}/v2/", timeout=2).close()
        except HTTPError:
            return True
        except OSError:
            return False
        return True

    def push(self, engine: Engine, source: str, image: str) -> str:
        """Push a local image under a name of this registry, and leave no such name behind; returns its digest."""
        name = self.name(image)
        engine.docker("tag", source, name)
        try:
            said = engine.docker("push", "--quiet", name)
            told = engine.docker("image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', name).stdout
        finally:
            engine.docker("rmi", name, check=False)
        repository = name.rpartition(":")[0]
        found = [line.partition("@")[2] for line in told.split() if line.startswith(f"{repository}@")]
        assert len(found) == 1, (said.stdout, told)
        engine.docker("rmi", f"{repository}@{found[0]}", check=False)
        return found[0]


def program() -> Path:
    """The registry's program, fetched on first use.

    Raises:
        SetupError: this machine's package mirror has none.
    """
    if found := shutil.which(PACKAGE):
        return Path(found)
    unpacked = STATE / "tools" / "packages" / f"{PACKAGE}-{apt.own_suite()}"
    inner = Path("usr") / "bin" / PACKAGE
    if not (unpacked / inner).is_file():
        unpacked = apt.unpack(PACKAGE, apt.own_suite(), STATE)
    return unpacked / inner


def _passwords(folder: Path, login: str) -> Path:
    name, _, password = login.partition(":")
    file = folder / "htpasswd"
    file.write_text(f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n")
    return file


@contextmanager
def registry(folder: Path, *, login: str = "") -> Iterator[Registry]:
    """A registry that keeps its images below `folder`; with `login`, as `name:password`, for nobody else."""
    folder.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{servers.free_port()}"
    file = folder / "registry.yml"
    file.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'images'}}}}}\nhttp: {{addr: '{host}'}}\n"
        + (f"auth: {{htpasswd: {{realm: test, path: {_passwords(folder, login)}}}}}\n" if login else "")
    )
    with process.Running([str(program()), "serve", str(file)]) as running:
        running.discard_output()
        found = Registry(host)
        servers.wait_until(found.answers, what="the registry")
        yield found
