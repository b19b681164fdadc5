"""A real Docker Engine for tests, with Compose v2 and buildx, on a machine that has Debian packages and no registry.

An engine that answers is used as it is. Otherwise root starts a `dockerd` of its own, with all state below one folder
that is kept between runs, so that images need not be built anew. Several test runs share it: whoever leaves last stops
it, by its pid.

`python -m tests.support.docker_engine COMMAND ...` runs a command with DOCKER_HOST and DOCKER_CONFIG set to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backups import process
from config import apt, tools
from config.setup_errors import SetupError
from tests.support.servers import REPO, wait_until

STATE = REPO / "var" / "cache" / "docker"
BASE_IMAGE = "ragkeep/base:trixie"
KEPT_CACHE = "6GB"
# Package of the distribution -> the plugin inside it.
PLUGINS = {"docker-compose": "docker-compose", "docker-buildx": "docker-buildx"}
PLUGIN_FOLDERS = ("usr/libexec/docker/cli-plugins", "usr/lib/docker/cli-plugins")


class NoEngineError(Exception):
    """This machine has no Docker Engine and none can be started; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker Engine that answers.

    Attributes:
        host: its address, as DOCKER_HOST takes it.
        config: the folder of DOCKER_CONFIG, which holds the plugins.
    """

    host: str
    config: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment that leads a `docker` command here."""
        return {**os.environ, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.config), "DOCKER_BUILDKIT": "1"}

    def docker(
        self, *words: str | Path, timeout: float = 120, check: bool = True, env: dict[str, str] | None = None
    ) -> process.Completed:
        """Run `docker ...`; `env` is added to its environment.

        Raises:
            ProcessError: it failed or did not end in time.
        """
        return process.run(["docker", *words], env={**self.environ, **(env or {})}, timeout=timeout, check=check)

    def has_image(self, name: str) -> bool:
        """Whether an image of that name is here."""
        return self.docker("image", "inspect", name, check=False).returncode == 0

    def image_id(self, name: str) -> str:
        """The id of an image.

        Raises:
            ProcessError: there is none of that name.
        """
        return self.docker("image", "inspect", "--format", "{{.Id}}", name).stdout.strip()


def missing() -> str | None:
    """Why no engine can be had here; None when one answers or could be started."""
    if shutil.which("docker") is None:
        return "no docker found: apt-get install docker.io iptables debootstrap"
    if _answers(_given()) or _answers(_own(STATE)):
        return None
    if os.geteuid() != 0:
        return "no Docker Engine answers, and only root can start one"
    lacking = [name for name in ("dockerd", "iptables", "debootstrap") if _program(name) is None]
    return f"{' and '.join(lacking)} not found: apt-get install docker.io iptables debootstrap" if lacking else None


@contextmanager
def running(state: Path = STATE) -> Iterator[Engine]:
    """The engine of DOCKER_HOST if it answers, else one of our own below `state` for as long as somebody needs it.

    Raises:
        NoEngineError: there is none and none can be started.
    """
    if _answers(given := _given()):
        yield given
        return
    if reason := missing():
        raise NoEngineError(reason)
    own = _own(state)
    own.config.mkdir(parents=True, exist_ok=True)
    with (state / "users.lock").open("w") as users:
        with _alone(state):
            fcntl.flock(users, fcntl.LOCK_SH)
            if not _answers(own):
                _start(state, own)
            _provide_plugins(own.config, state)
        try:
            yield own
        finally:
            _leave(own, state, users.fileno())


def base_image(engine: Engine) -> str:
    """The name of the image that compose/offline.yaml builds from; made on first use, about a minute.

    Raises:
        ProcessError: debootstrap or the import failed.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    with _alone(STATE, "base.lock"):
        if not engine.has_image(BASE_IMAGE):
            script = REPO / "compose" / "offline" / "make-base.sh"
            process.run(["sh", script, apt.own_mirror().url], env={**engine.environ, "PATH": _path()}, timeout=900)
    return BASE_IMAGE


def authorities() -> Path | None:
    """The certificates this machine trusts, for builds behind a proxy that inspects; None when it has no such file."""
    named = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt"
    return Path(named) if Path(named).is_file() else None


def _given() -> Engine:
    config = os.environ.get("DOCKER_CONFIG")
    return Engine(
        os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
        Path(config) if config else Path.home() / ".docker",
    )


def _own(state: Path) -> Engine:
    return Engine(f"unix://{state / 'run' / 'docker.sock'}", state / "config")


def _answers(engine: Engine) -> bool:
    socket = engine.host.removeprefix("unix://")
    if engine.host.startswith("unix://") and not Path(socket).is_socket():
        return False
    with contextlib.suppress(process.ProcessError):
        told = engine.docker("version", "--format", "{{.Server.Version}}", timeout=20)
        return bool(told.stdout.strip())
    return False


def _start(state: Path, engine: Engine) -> None:
    for folder in ("data", "exec", "run"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    pidfile = state / "run" / "docker.pid"
    pidfile.unlink(missing_ok=True)
    dockerd = _program("dockerd")
    assert dockerd is not None, "missing() has looked"
    argv = [
        dockerd, "-H", engine.host, "--data-root", str(state / "data"), "--exec-root", str(state / "exec"),
        "--pidfile", str(pidfile), "--group", "root", "--log-level", "warn",
    ]  # fmt: skip
    log = state / "dockerd.log"
    pid = process.start_detached(argv, log=log, env={**os.environ, "PATH": _path()})
    try:
        wait_until(lambda: _answers(engine) or not _lives(pid), what="dockerd", seconds=60)
    except AssertionError:
        os.kill(pid, signal.SIGTERM)
    if not _answers(engine):
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
        raise NoEngineError(f"dockerd did not start on this machine; the end of {log}:\n{tail}")


def _leave(engine: Engine, state: Path, users: int) -> None:
    with _alone(state):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        # What every build leaves behind would fill the disk in the end.
        for words in (("image", "prune", "--force"), ("builder", "prune", "--force", "--keep-storage", KEPT_CACHE)):
            engine.docker(*words, timeout=300, check=False)
        pidfile = state / "run" / "docker.pid"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int(pidfile.read_text())
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not _lives(pid), what="the end of dockerd", seconds=60)


@contextmanager
def _alone(state: Path, name: str = "engine.lock") -> Iterator[None]:
    with (state / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lives(pid: int) -> bool:
    # Our own child stays a zombie until it is waited for.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return Path(f"/proc/{pid}").exists()


def _provide_plugins(config: Path, state: Path) -> None:
    folder = config / "cli-plugins"
    folder.mkdir(parents=True, exist_ok=True)
    for package, plugin in PLUGINS.items():
        if not _works(folder / plugin):
            (folder / plugin).unlink(missing_ok=True)
            (folder / plugin).symlink_to(_plugin(package, plugin, state))


def _plugin(package: str, plugin: str, state: Path) -> Path:
    """One that the machine has, else unpacked from a release that carries Compose v2."""
    roots = [Path("/usr/local/lib/docker/cli-plugins"), *(Path("/") / inner for inner in PLUGIN_FOLDERS)]
    for found in (root / plugin for root in roots):
        if _works(found):
            return found
    for suite in tools.NEWER_SUITES.get(apt.distribution(), ()):
        with contextlib.suppress(SetupError):
            unpacked = apt.unpack(package, suite, state)
            for inner in PLUGIN_FOLDERS:
                if _works(unpacked / inner / plugin):
                    return unpacked / inner / plugin
    raise NoEngineError(f"the docker plugin {plugin} is not here and could not be fetched from this machine's mirror")


def _works(plugin: Path) -> bool:
    if not os.access(plugin, os.X_OK):
        return False
    with contextlib.suppress(process.ProcessError):
        told = process.run([plugin, "docker-cli-plugin-metadata"], timeout=20)
        return '"Vendor"' in told.stdout
    return False


def _program(name: str) -> str | None:
    return shutil.which(name, path=_path())


def _path() -> str:
    # dockerd looks for iptables, runc and containerd; an ordinary PATH may leave /usr/sbin out.
    return os.pathsep.join(dict.fromkeys((*os.environ.get("PATH", "").split(os.pathsep), *tools.SYSTEM_PATH)))


def main(words: list[str]) -> int:
    """Run a command with a Docker Engine at hand; returns its exit status."""
    try:
        with running() as engine:
            return process.call(words, env=engine.environ)
    except NoEngineError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
