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
USER, PASSWORD = "reader", "secret-word-of-nobody"


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry that answers only those who sign in.

    Attributes:
        host: what the names of its images begin with.
        folder: where it keeps them, as `images`.
        prefix: what stands between `host` and the names that a test gives.
    """

    host: str
    folder: Path
    prefix: str = ""

    def name(self, image: str) -> str:
        """An image's whole name."""
        return f"{self.host}/{self.prefix}{image}"

    def answers(self) -> bool:
        try:
            urlopen(f"http://{self.host}/v2/", timeout=2).close()
        except HTTPError:
            return True
        except OSError:
            return False
        return True

    def sign_in(self, engine: Engine, folder: Path) -> Engine:
        """The same engine with a client that is signed in here; what it knows is kept in `folder`."""
        folder.mkdir()
        (folder / "cli-plugins").symlink_to(engine.config / "cli-plugins")
        found = Engine(engine.host, folder)
        command = ["docker", "login", "--username", USER, "--password-stdin", self.host]
        process.run(command, env=found.environ, stdin=PASSWORD, timeout=60)
        return found

    def push(self, engine: Engine, source: str, image: str) -> str:
        """Push a local image under a name of this registry, and leave no such name behind; returns its digest."""
        name = self.name(image)
        repository = name.rpartition(":")[0]
        engine.docker("tag", source, name)
        try:
            engine.docker("push", "--quiet", name, timeout=300)
            told = engine.docker("image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', name).stdout
        finally:
            engine.docker("rmi", name, check=False)
        found = [line.partition("@")[2] for line in told.split() if line.startswith(f"{repository}@")]
        assert len(found) == 1, told
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


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """A registry that keeps its images below `folder`."""
    found = Registry(f"127.0.0.1:{servers.free_port()}", folder)
    file, passwords = folder / "registry.yml", folder / "htpasswd"
    passwords.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    file.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'images'}}}}}\n"
        f"http: {{addr: '{found.host}'}}\nauth: {{htpasswd: {{realm: test, path: {passwords}}}}}\n"
    )
    with process.Running([str(program()), "serve", str(file)]) as running:
        running.discard_output()
        servers.wait_until(found.answers, what="the registry")
        yield found
