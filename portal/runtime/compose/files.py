"""The Compose files of a stack and what they mount, as copies in the stack's own folder.

The engine resolves what a file mounts on its own host, where the program is not; and a release keeps its files although
the program moves on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from portal.runtime.compose.record import write_private

FOLDER = "project"
LIST = "files.json"
# What the stack's files mount, relative to the program.
MOUNTED = ("config/nginx", "config/postgres")


def stack_files(root: Path, default: Path) -> list[Path]:
    """The stack file and its overlays below a stack's folder; only `default` while it has none of its own."""
    folder = root / FOLDER
    try:
        names = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [default]
    return [folder / "compose" / name for name in names]


def place_files(root: Path, program: Path, names: Sequence[str]) -> list[Path]:
    """Copy files of `compose/` and what they mount from the program into a stack's folder; returns the copies.

    What did not change is left alone: nothing is replaced that a container reads for no reason.
    """
    folder = root / FOLDER
    for name in names:
        _copy(program / "compose" / name, folder / "compose" / name)
    for part in MOUNTED:
        kept = {_copy(file, folder / file.relative_to(program)) for file in sorted((program / part).rglob("*"))}
        for file in (folder / part).rglob("*"):
            if file.is_file() and file not in kept:
                file.unlink()
    write_private(folder / LIST, json.dumps(list(names)) + "\n", mode=0o644)
    return stack_files(root, root)


def _copy(source: Path, target: Path) -> Path:
    if not source.is_file() or "__pycache__" in source.parts:
        return target
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if not target.is_file() or target.read_bytes() != source.read_bytes():
        # In place: a container that mounts the file alone sees no other.
        shutil.copyfile(source, target)
    target.chmod(0o644)
    return target
