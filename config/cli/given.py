"""Files that a verb is given by name, `-` for standard input."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from config.cli.output import UserError

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
