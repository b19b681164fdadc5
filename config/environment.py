"""The Python environment `.venv`: made from hashed locks, by whatever pip the machine can offer.

Standard library only. Debian's python3 has neither pip nor ensurepip, so pip is looked for in four places; it installs
one wheel (uv), which installs everything else in seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from backups import process
from config import apt
from config.setup_errors import SetupError, say

RUNTIME = ("runtime.txt", "models.txt")
DEVELOPMENT = ("dev.txt",)
STAMP = ".ragkeep-locks.json"
UNFINISHED = ".ragkeep-unfinished"


def ensure(root: Path, var: Path, *, development: bool) -> Path:
    """Make or complete `.venv` and return its interpreter.

    Raises:
        SetupError: no pip can be found, the disk is full, or an installation failed.
    """
    venv = root / ".venv"
    names = (*RUNTIME, *DEVELOPMENT) if development else RUNTIME
    if _is_current(venv, root, names):
        return venv / "bin" / "python"
    _refuse_unwritable(root)
    with _alone(var / "bootstrap.lock"):
        if not _is_current(venv, root, names):
            _install(venv, root, var, names)
    return venv / "bin" / "python"


def _install(venv: Path, root: Path, var: Path, names: tuple[str, ...]) -> None:
    begun = time.monotonic()
    _remove_unfinished(venv)
    if not (venv / "bin" / "python").exists():
        say(f"making the environment {venv} with Python {sys.version.split()[0]}")
        process.run([sys.executable, "-m", "venv", "--without-pip", "--clear", venv])
    names = tuple(sorted({*names, *_installed(venv)}))
    marker = venv / UNFINISHED
    marker.touch()
    if not (venv / "bin" / "uv").exists():
        _install_uv(venv, root, var)
    say("installing the locked packages (about 1.5 GB on disk, a minute or two with a good line)")
    _uv_install(venv, root, names)
    stamp = {name: _digest(root / "requirements" / name) for name in names}
    (venv / STAMP).write_text(json.dumps(stamp))
    marker.unlink()
    say(f"environment ready after {time.monotonic() - begun:.0f} s")


def _is_current(venv: Path, root: Path, names: tuple[str, ...]) -> bool:
    if (venv / UNFINISHED).exists() or not os.access(venv / "bin" / "python", os.X_OK):
        return False
    have = _installed(venv)
    return all(have.get(name) == _digest(root / "requirements" / name) for name in names)


def _installed(venv: Path) -> dict[str, str]:
    try:
        stamp: dict[str, str] = json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp


def _remove_unfinished(venv: Path) -> None:
    # A package that was half unpacked looks installed to uv; the wheels are cached, so starting over is cheap.
    broken = not os.access(venv / "bin" / "python", os.X_OK)
    if venv.exists() and ((venv / UNFINISHED).exists() or broken):
        say("an earlier installation was interrupted; starting it over")
        shutil.rmtree(venv)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _refuse_unwritable(root: Path) -> None:
    if not os.access(root, os.W_OK):
        raise SetupError(
            f"The environment {root / '.venv'} must be made or brought up to date, and {root} is not writable for you.",
            "Run this once as the owner of that folder, or clone the project into a folder of your own.",
        )


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another command is preparing the environment; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_uv(venv: Path, root: Path, var: Path) -> None:
    lock = str(root / "requirements" / "bootstrap.txt")
    argv = [*_pip(var), "--python", str(venv / "bin" / "python"), "install", "--quiet", "--disable-pip-version-check"]
    try:
        process.run([*argv, "--require-hashes", "--no-deps", "-r", lock], timeout=600)
    except process.ProcessError as failed:
        raise SetupError(
            f"The installer could not be downloaded: {_last_line(failed.stderr)}",
            "Check the network and pip's configuration (pip config list), then run the same command again.",
        ) from None


def _pip(var: Path) -> list[str]:
    """How to call a pip of at least 22.3 (for `--python`): the interpreter's own, ensurepip's wheel, or Debian's."""
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    wheel = _bundled_pip() or _debian_pip(var)
    if wheel is None:
        raise SetupError(
            f"{sys.executable} has no pip, and none could be fetched.",
            "Install it (Debian, Ubuntu: apt-get install python3-venv python3-pip), then run the same command again.",
        )
    return [sys.executable, f"{wheel}/pip"]


def _bundled_pip() -> Path | None:
    spec = find_spec("ensurepip")
    if spec is None or spec.origin is None:
        return None
    return _newest(Path(spec.origin).parent / "_bundled") or _newest(Path("/usr/share/python-wheels"))


def _debian_pip(var: Path) -> Path | None:
    found = _newest(Path("/usr/share/python-wheels"))
    if found is None and apt.available():
        say("this Python has no pip; fetching it from the distribution")
        with contextlib.suppress(SetupError):
            folder = apt.unpack("python3-pip-whl", apt.own_suite(), var)
            found = _newest(folder / "usr/share/python-wheels")
    return found


def _newest(folder: Path) -> Path | None:
    return max(folder.glob("pip-*.whl"), default=None)


def _uv_install(venv: Path, root: Path, names: tuple[str, ...]) -> None:
    files = [word for name in names for word in ("-r", str(root / "requirements" / name))]
    python = str(venv / "bin" / "python")
    argv = [str(venv / "bin" / "uv"), "pip", "install", "--python", python, "--require-hashes", "--no-deps"]
    try:
        process.run([*argv, "--quiet", "--compile-bytecode", *files], env=_uv_environment(venv), timeout=3600)
    except process.ProcessError as failed:
        raise SetupError(
            f"The locked packages could not be installed: {_last_line(failed.stderr)}",
            "Check the network and the free disk (2 GB are needed), then run the same command again.",
        ) from None


def _uv_environment(venv: Path) -> dict[str, str]:
    """uv reads none of pip's settings; a site's mirror and certificates are passed on to it."""
    env = dict(os.environ)
    env["UV_PYTHON_DOWNLOADS"] = "never"
    env["UV_NO_CONFIG"] = "1"
    env["UV_HTTP_TIMEOUT"] = env.get("UV_HTTP_TIMEOUT", "300")
    env.setdefault("UV_LINK_MODE", "hardlink" if _same_disk(venv) else "copy")
    if not os.access(Path.home(), os.W_OK):
        env["UV_NO_CACHE"] = "1"
    for pip_name, uv_name in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_CERT", "SSL_CERT_FILE")):
        if env.get(pip_name) and uv_name not in env:
            env[uv_name] = env[pip_name]
    if "UV_DEFAULT_INDEX" not in env:
        env.update(_configured_index())
    return env


def _configured_index() -> dict[str, str]:
    if find_spec("pip") is None:
        return {}
    told = process.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], check=False)
    url = told.stdout.strip()
    return {"UV_DEFAULT_INDEX": url} if told.returncode == 0 and url else {}


def _same_disk(venv: Path) -> bool:
    try:
        return Path.home().stat().st_dev == venv.stat().st_dev
    except OSError:
        return False


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
