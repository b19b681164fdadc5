"""The two programs that PyPI does not have: restic 0.17 or later, and nginx.

What is on PATH and recent enough is used; otherwise the distribution's package is unpacked under `var/tools`, for
restic from a newer release of the same distribution when the machine's own is too old. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from backups import process
from config import apt
from config.setup_errors import SetupError, say

RESTIC_FLOOR = (0, 17)
# Releases that carry a recent restic whose binary needs no newer libc than the oldest supported machine's.
NEWER_SUITES = {"debian": ("trixie", "forky"), "ubuntu": ("questing", "plucky")}
TOO_OLD = {"bullseye", "bookworm", "focal", "jammy", "noble"}
SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")


def ensure(var: Path) -> None:
    """Put `restic` and `nginx` into `var/tools/bin`, as links to what the machine has or as unpacked binaries.

    Raises:
        SetupError: one of them can neither be found nor fetched.
    """
    folder = var / "tools" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    if not restic_is_usable(folder / "restic"):
        _provide_restic(folder / "restic", var)
    if not nginx_is_usable(folder / "nginx"):
        _provide_nginx(folder / "nginx", var)


def restic_is_usable(path: Path) -> bool:
    """Whether `path` is a restic of at least 0.17."""
    version = _first_version(path, "version")
    return version is not None and version >= RESTIC_FLOOR


def nginx_is_usable(path: Path) -> bool:
    """Whether `path` is an nginx that starts (an unpacked one may lack a library)."""
    return _first_version(path, "-v") is not None


def _provide_restic(target: Path, var: Path) -> None:
    for found in _on_path("restic"):
        if restic_is_usable(found):
            return _link(found, target)
    own = () if apt.own_suite() in TOO_OLD else (apt.own_suite(),)
    suites = (*own, *NEWER_SUITES.get(apt.distribution(), ()))
    for suite in suites if apt.available() else ():
        say(f"fetching restic from {suite}")
        try:
            binary = apt.unpack("restic", suite, var) / "usr/bin/restic"
        except SetupError as problem:
            say(problem.problem)
            continue
        if restic_is_usable(binary):
            return _link(binary, target)
    raise SetupError(
        f"restic {'.'.join(map(str, RESTIC_FLOOR))} or later is needed for backups, and this machine offers none.",
        "Install a release of restic from its project page into /usr/local/bin, then run the same command again.",
    )


def _provide_nginx(target: Path, var: Path) -> None:
    for found in _on_path("nginx"):
        if nginx_is_usable(found):
            return _link(found, target)
    if apt.available():
        say("fetching nginx from the distribution")
        binary = apt.unpack("nginx", apt.own_suite(), var) / "usr/sbin/nginx"
        if nginx_is_usable(binary):
            return _link(binary, target)
    raise SetupError(
        "nginx is needed in front of the services, and this machine offers none that starts.",
        "Install it (Debian, Ubuntu: apt-get install nginx; Fedora: dnf install nginx) and run the same command again.",
    )


def _on_path(name: str) -> Iterable[Path]:
    # /usr/sbin is not on an ordinary user's PATH on Debian, and nginx lives there.
    for folder in dict.fromkeys((*os.environ.get("PATH", "").split(os.pathsep), *SYSTEM_PATH)):
        candidate = Path(folder or ".") / name
        if os.access(candidate, os.X_OK) and candidate.is_file():
            yield candidate


def _link(source: Path, target: Path) -> None:
    fresh = target.with_name(f".{target.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(source, target.parent) if _inside(source, target) else source.resolve())
    fresh.replace(target)


def _inside(source: Path, target: Path) -> bool:
    return source.is_relative_to(target.parent.parent)


def _first_version(path: Path, argument: str) -> tuple[int, int] | None:
    if shutil.which(path) is None:
        return None
    try:
        told = process.run([path, argument], timeout=30)
    except process.ProcessError:
        return None
    match = re.search(r"(\d+)\.(\d+)", told.stdout + told.stderr)
    return (int(match[1]), int(match[2])) if match else None
