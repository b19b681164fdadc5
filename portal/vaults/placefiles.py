"""Files beside the database that it takes to reach a repository: passwords, credentials, keys, certificates.

Only their paths stand in rows. A file is never overwritten: what is new gets a name of its own, so that a change that
does not work leaves the old one in use.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from backups.place import parse_credentials
from backups.secret import write_secret


def folder() -> Path:
    """Where they lie; only the account of the portal enters it."""
    path = Path(settings.VAR_DIR) / "control" / "secrets" / "repositories"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


class PlaceFiles:
    """The new files of one repository; `drop` takes back what was written when it turns out not to work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._written: list[Path] = []

    def write(self, suffix: str, text: str) -> str:
        """Write one file, 0600, and return its path."""
        path = folder() / f"{self._name}.{suffix}"
        if path.exists():
            path = folder() / f"{self._name}-{secrets.token_hex(3)}.{suffix}"
        write_secret(path, text.rstrip("\n"))
        self._written.append(path)
        return str(path)

    def credentials(self, values: Mapping[str, str]) -> str:
        """Write credentials as NAME=VALUE lines; no file for none.

        Raises:
            CredentialsInvalid: a name is none of a credential.
        """
        if not values:
            return ""
        text = "\n".join(f"{name}={value}" for name, value in values.items())
        parse_credentials(text, "credentials")
        return self.write("env", text)

    def drop(self) -> None:
        for path in self._written:
            path.unlink(missing_ok=True)
        self._written.clear()


def retire(paths: list[str]) -> list[str]:
    """Put files of a repository that is no longer used aside; returns where they are now. Others' files stay."""
    aside = folder() / "removed"
    aside.mkdir(exist_ok=True, mode=0o700)
    stamp = f"{timezone.now():%Y%m%dT%H%M%SZ}"
    moved = []
    for path in map(Path, filter(None, paths)):
        if path.parent == folder() and path.exists():
            target = aside / f"{path.stem}-{stamp}{path.suffix}"
            path.rename(target)
            moved.append(str(target))
    return moved
