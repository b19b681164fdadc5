"""The stack's configuration: small files, copied into the staging; secrets stay where they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from backups.errors import SourceMissing


def stage(parts: Iterable[Path], target: Path) -> None:
    """Copy files and folders into `target`, each under its own name, without folders called `secrets`.

    Raises:
        SourceMissing: a part is not there.
    """
    target.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if part.is_dir():
            shutil.copytree(part, target / part.name, ignore=_secrets, dirs_exist_ok=True)
        elif part.is_file():
            shutil.copy2(part, target / part.name)
        else:
            raise SourceMissing(f"the configuration {part} is not there")


def _secrets(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "secrets"]
