"""Files that a verb is given by name, `-` for standard input; the options that say how a repository is reached."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from backups.access import OPTIONS, Access, read_access
from backups.errors import BackupError
from config.cli.output import UserError

Verb = TypeVar("Verb", bound=Callable[..., Any])

file_option = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


def text_of(path: Path | None) -> str:
    """What a file holds, `-` for standard input; nothing without one.

    Raises:
        UserError: it cannot be read; as root everything runs as an ordinary account, which may not read root's files.
    """
    if path is None:
        return ""
    try:
        return (sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(
            f"{path} cannot be read: {why}", f"give it on standard input: --... - < {path}", "files"
        ) from None


def access_options(verb: Verb) -> Verb:
    """Add the options that say how a repository is reached beyond its address; `access_of` reads them."""
    for option in reversed(OPTIONS):
        kind = file_option if option.is_file else click.STRING
        verb = click.option(option.flag, type=kind, metavar=option.value, help=option.help)(verb)
    return verb


def access_of(given: Mapping[str, Any]) -> Access:
    """What the options of `access_options` say. `given`: all options of the verb, so that `-` is used only once.

    Raises:
        UserError: a file cannot be read, or is not what it must be.
    """
    if [str(value) for value in given.values() if isinstance(value, Path)].count("-") > 1:
        raise UserError("standard input can be only one of the files", "name the others", "usage")
    try:
        return read_access(given, text_of)
    except BackupError as error:
        raise UserError(error.message, error.remedy, error.code) from None
