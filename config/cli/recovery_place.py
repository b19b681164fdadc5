"""The repository of a recovery: what the caller gives to reach it, and how the portal keeps that for itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backups.access import Access, place_named, reached_by
from backups.job import RepositoryPlace
from backups.secret import Secret, write_secret
from config.cli.given import access_of, text_of
from config.cli.output import UserError

FOLDER = "place"


@dataclass(frozen=True, slots=True)
class Asked:
    """The repository as the command line names it."""

    url: str
    password: Secret
    access: Access

    @classmethod
    def read(cls, url: str, given: Mapping[str, Any]) -> Asked:
        """Read everything that was given, before anything is begun. `given`: `password_file` and access_options.

        Raises:
            UserError: a file cannot be read, or is not what it must be.
        """
        _demand_files(given)
        access, password = access_of(given), text_of(given["password_file"])
        if not password:
            raise UserError(
                f"{given['password_file']} is empty",
                "give the file that the repository's key was kept in",
                "unreadable",
            )
        return cls(url, Secret(password), access)

    @contextmanager
    def placed(self, folder: Path) -> Iterator[RepositoryPlace]:
        """The place with its files in `folder` for as long as the block runs; what a killed attempt left is replaced.

        Raises:
            RepositoryError: see backups.access.reached_by.
        """
        here = folder / FOLDER
        shutil.rmtree(here, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        here.mkdir(mode=0o700)
        try:
            write_secret(here / "password", self.password.reveal())
            yield reached_by(place_named(self.url, here / "password"), self.access, here)
        finally:
            shutil.rmtree(here, ignore_errors=True)
            with suppress(OSError):  # the notes of a recovery that is not finished stay
                folder.rmdir()


def kept_place(place: RepositoryPlace, secrets: Path, name: str) -> RepositoryPlace:
    """The same place, with its files copied to where the portal keeps those of a repository called `name`."""

    def kept(path: Path | None, suffix: str) -> Path | None:
        return path and place_secret(secrets / "repositories" / f"{name}.{suffix}", path.read_text(encoding="utf-8"))

    options = place.options
    return replace(
        place,
        password_file=kept(place.password_file, "password") or place.password_file,
        credentials_file=kept(place.credentials_file, "env"),
        options=replace(
            options,
            key_file=kept(options.key_file, "key"),
            ca_file=kept(options.ca_file, "ca"),
            known_hosts_file=kept(options.known_hosts_file, "known_hosts"),
        ),
    )


def place_secret(path: Path, text: str) -> Path:
    """Put a secret where it belongs; what an earlier attempt left there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    write_secret(path, text.rstrip("\r\n"))
    return path


def _demand_files(given: Mapping[str, Any]) -> None:
    """Name every file that cannot be read at once: nobody wants to come back for each.

    Raises:
        UserError
    """
    paths = [value for value in given.values() if isinstance(value, Path) and str(value) != "-"]
    hurdles = [f"{path} ({why})" for path in paths if (why := _hurdle(path))]
    if hurdles:
        account = f"the account that Ragkeep runs as (uid {os.getuid()})"
        raise UserError(
            f"cannot be read by {account}: {', '.join(hurdles)}",
            "check the paths; where permission is denied, give that account a copy for the time being: "
            f"install -o {os.getuid()} -m 600 FILE COPY",
            "unreadable",
        )


def _hurdle(path: Path) -> str:
    try:
        path.open("rb").close()
    except OSError as error:
        return (error.strerror or "not readable").lower()
    return ""
