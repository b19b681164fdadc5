"""The tiers of the test suite: where each lives, and whether this machine can run it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tier:
    """A part of the suite.

    Attributes:
        paths: folders below the checkout that hold its tests.
        missing: returns a sentence saying what this machine lacks for it, or None.
        as_caller: runs with root's rights when root calls; everything else never does.
    """

    name: str
    paths: tuple[str, ...]
    missing: Callable[[Mapping[str, str]], str | None]
    as_caller: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Tests of a tier that need a program which many machines lack; without it they alone are skipped.

    Attributes:
        tests: what they are about, as the caller is told.
        missing: as of a tier.
    """

    tier: str
    tests: str
    missing: Callable[[Mapping[str, str]], str | None]


def chromium(environ: Mapping[str, str]) -> str | None:
    """The browser the journey is driven in: `CHROMIUM`, or the first one on PATH."""
    named = environ.get("CHROMIUM")
    if named:
        return named if os.access(named, os.X_OK) else None
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name, path=f"{environ.get('PATH', '')}:/usr/bin")
        if found:
            return found
    return None


def _nothing(_environ: Mapping[str, str]) -> str | None:
    return None


def _servers(environ: Mapping[str, str]) -> str | None:
    folder = Path(environ.get("RAGKEEP_VAR", "var")) / "tools" / "bin"
    lacking = [name for name in ("restic", "nginx") if not (folder / name).exists()]
    return f"{' and '.join(lacking)} not found in {folder}: run python3 manage.py up once" if lacking else None


def sshd(environ: Mapping[str, str]) -> str | None:
    """The SSH server's program; it lies where an ordinary user's PATH does not lead."""
    return shutil.which("sshd", path=f"{environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")


def _sshd(environ: Mapping[str, str]) -> str | None:
    if sshd(environ) and shutil.which("sftp", path=environ.get("PATH", "")):
        return None
    return "no sshd and sftp found: apt-get install openssh-server"


def _browser(environ: Mapping[str, str]) -> str | None:
    if chromium(environ) is None:
        return "no Chromium found: apt-get install chromium, or set CHROMIUM to its path"
    return _servers(environ)


def _docker(_environ: Mapping[str, str]) -> str | None:
    from tests.support import docker_engine  # an installation without its tests has no use for it

    return docker_engine.missing()


TIERS = (
    Tier("unit", ("tests/unit",), _nothing),
    Tier("integration", ("tests/contract", "tests/integration", "tests/faults"), _servers),
    Tier("kills", ("tests/kills",), _servers),
    Tier("browser", ("tests/e2e",), _browser),
    Tier("docker", ("tests/docker",), _docker, as_caller=True),
)
PARTS = (Part("integration", "repositories on SFTP servers", _sshd),)
