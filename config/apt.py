"""Packages of the distribution, without installing them: downloaded into a private apt state, unpacked by dpkg.

Works as an ordinary user, touches nothing outside the given folder, and asks only the mirror and the keyring that this
machine already trusts. Standard library only.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from backups import process
from config.setup_errors import SetupError


@dataclass(frozen=True, slots=True)
class Mirror:
    """A source of packages from the machine's own configuration."""

    url: str
    suite: str
    signed_by: str | None


def available() -> bool:
    """Whether this is a machine with apt and dpkg."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg") is not None


def own_suite() -> str:
    """The code name of this machine's release, as in `bookworm`; empty when it has none."""
    return _os_release().get("VERSION_CODENAME", "")


def distribution() -> str:
    """`debian`, `ubuntu`, ..."""
    return _os_release().get("ID", "")


def unpack(package: str, suite: str, var: Path) -> Path:
    """Download `package` from `suite` of the machine's own mirror and return the folder it was unpacked into.

    Raises:
        SetupError: no mirror is configured, it cannot be reached, or it has no such package.
    """
    mirror = own_mirror()
    home = var / "tools" / "apt" / suite
    target = var / "tools" / "packages" / f"{package}-{suite}"
    options = _private_state(home, mirror, suite)
    work = home / "download"
    for folder in (work, target):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        process.run(["apt-get", *options, "-qq", "update"], timeout=600)
        process.run(["apt-get", *options, "-qq", "download", package], cwd=work, timeout=600)
        archive = max(work.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
        process.run(["dpkg", "-x", archive, target])
    except (process.ProcessError, ValueError) as failed:
        raise SetupError(
            f"{package} could not be fetched from {suite} of this machine's package mirror: {failed}",
            f"Check the network, or install {package} yourself, then run the same command again.",
        ) from None
    finally:
        shutil.rmtree(home)
    return target


def own_mirror() -> Mirror:
    """The first configured source of this machine's own release.

    Raises:
        SetupError: none is configured.
    """
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        found = _from_deb822(path.read_text(errors="replace"))
        if found:
            return found
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]
    for path in lists:
        found = _from_one_line(path.read_text(errors="replace")) if path.exists() else None
        if found:
            return found
    raise SetupError(
        "No package mirror of this machine's release is configured under /etc/apt.",
        "Install restic 0.17 or later and nginx yourself, so that they are on PATH.",
    )


def _from_deb822(text: str) -> Mirror | None:
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"(?m)^([A-Za-z-]+):[ \t]*(.+)$", stanza))
        if own_suite() in fields.get("Suites", "").split() and "URIs" in fields:
            return Mirror(fields["URIs"].split()[0], own_suite(), fields.get("Signed-By"))
    return None


def _from_one_line(text: str) -> Mirror | None:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<url>\S+)\s+(?P<suite>\S+)\s", line)
        if match and match["suite"] == own_suite():
            key = re.search(r"signed-by=(\S+)", match["options"] or "")
            return Mirror(match["url"], own_suite(), key[1] if key else None)
    return None


def _private_state(home: Path, mirror: Mirror, suite: str) -> list[str]:
    for folder in ("lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={mirror.signed_by}] " if mirror.signed_by else ""
    sources = home / "sources.list"
    sources.write_text(f"deb {signed}{mirror.url} {suite} main{' universe' if distribution() == 'ubuntu' else ''}\n")
    settings = {
        "Dir::State": home,
        "Dir::State::lists": home / "lists",
        "Dir::Cache": home / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Debug::NoLocking": "1",
        # The download user of apt could not write into a private folder.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        # Hooks of the machine (notifiers, cleaners) have no business in a private state.
        "APT::Update::Post-Invoke-Success::": "",
    }
    return [word for key, value in settings.items() if value != "" for word in ("-o", f"{key}={value}")]


def _os_release() -> dict[str, str]:
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return {}
    return {key: value.strip().strip('"') for key, value in re.findall(r"(?m)^([A-Z_]+)=(.*)$", text)}
