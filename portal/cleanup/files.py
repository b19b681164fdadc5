"""Files that can go: rotated logs, and work folders of operations that ended long ago."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from stat import S_ISREG

from portal.cleanup.pieces import Piece, Sort
from portal.operations.models import FINISHED, Operation
from portal.vaults.models import Restore, RestoreState

# A folder also keeps a predecessor that is still at work from going on: none is by then.
WORK_AGE = timedelta(days=7)


def rotated_logs(var: Path) -> Iterator[Piece]:
    """What supervisord has put aside as `<service>.log.1` and so on; the newest lines are in `<service>.log`."""
    for file in sorted([*var.glob("control/logs/*.log.*"), *var.glob("stacks/*/logs/*.log.*")]):
        # One may be rotated once more, and have another name, between the list and the look.
        with suppress(FileNotFoundError):
            found = file.stat()
            if S_ISREG(found.st_mode) and file.suffix[1:].isdigit():
                yield Piece(Sort.LOGS, str(file), str(file.relative_to(var)), found.st_size)


def work_folders(var: Path, *, now: datetime) -> Iterator[Piece]:
    """Folders below `operations` whose operation ended a week ago, or that nobody knows; what an undo needs stays."""
    folders = {
        number: folder
        for folder in sorted((var / "operations").glob("*"))
        if (number := _uuid(folder.name)) and folder.is_dir()
    }
    rows = Operation.objects.in_bulk(list(folders))
    undone = Restore.objects.filter(operation__in=folders, state=RestoreState.KEPT)
    needed = set(undone.values_list("operation", flat=True))
    for number, folder in folders.items():
        if number not in needed and _is_over(rows.get(number), folder, now):
            yield Piece(Sort.WORK, str(folder), f"operations/{folder.name}", size(folder))


def _uuid(name: str) -> uuid.UUID | None:
    with suppress(ValueError):
        return uuid.UUID(name)
    return None


def _is_over(row: Operation | None, folder: Path, now: datetime) -> bool:
    if row is None:
        return folder.stat().st_mtime < (now - WORK_AGE).timestamp()
    return row.state in FINISHED and row.finished_at is not None and row.finished_at < now - WORK_AGE


def size(path: Path) -> int:
    """Bytes of all files below a folder; those that vanish meanwhile count nothing."""
    total = 0
    for file in path.rglob("*"):
        with suppress(OSError):
            total += 0 if file.is_dir() else file.lstat().st_size
    return total


def remove(var: Path, piece: Piece) -> None:
    """Remove a file or folder of those above; what lies elsewhere is left alone.

    Raises:
        OSError: it cannot be removed.
    """
    path = Path(piece.key)
    if var not in path.parents or path.is_symlink():
        raise PermissionError(1, "lies elsewhere", piece.key)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
