"""Whether the disks can take what a restore is about to write."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from backups.errors import SpaceShort
from backups.manifest import DUMP, Manifest
from backups.restore.scope import WHOLE, Scope

# File systems, databases and their logs take more than the sum of the files.
MARGIN = 1.1
RESERVE = 64 * 1024 * 1024
# Rows become tables, free space in pages and indexes again; measured factors lie between 1.5 and 2.5.
DATABASE_FACTOR = 3


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that will be written below a folder, which need not exist yet."""

    folder: Path
    bytes: int


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write on the file system of `folder` (or of its nearest existing parent)."""
    return shutil.disk_usage(_existing(folder)).free


def needs(manifest: Manifest, volumes: dict[str, Path], work: Path, scope: Scope = WHOLE) -> list[Need]:
    """What staging the sources of `scope` takes.

    The database is counted on the documents' file system, where its volume lies too.
    """
    sizes: dict[str, int] = defaultdict(int)
    for entry in manifest.files:
        sizes[entry.source] += entry.bytes if entry.source in scope else 0
    if not scope.data:
        return [Need(folder, sizes[name]) for name, folder in volumes.items() if sizes[name]]
    dump = next((entry.bytes for entry in manifest.files_of("postgres") if entry.path == DUMP), 0)
    found = [Need(folder, sizes[name]) for name, folder in volumes.items() if sizes[name]]
    return [*found, Need(work, sizes["postgres"]), Need(volumes["documents"], dump * DATABASE_FACTOR)]


def require_space(wanted: Iterable[Need], free: Callable[[Path], int] = free_bytes) -> list[dict[str, int | str]]:
    """Compare needs with free space, needs on one file system added up.

    Args:
        free: bytes free for a folder.

    Returns:
        One `{folder, needed, free}` (bytes) per file system.

    Raises:
        SpaceShort: naming the first file system that is too small.
    """
    devices: dict[int, list[Need]] = defaultdict(list)
    for need in wanted:
        devices[_existing(need.folder).stat().st_dev].append(need)
    report: list[dict[str, int | str]] = []
    for group in devices.values():
        folder, needed = group[0].folder, int(sum(need.bytes for need in group) * MARGIN) + RESERVE
        have = free(folder)
        report.append({"folder": str(folder), "needed": needed, "free": have})
        if have < needed:
            raise SpaceShort(
                f"the disk of {folder} is too small: {needed:,} bytes are needed, {have:,} are free",
                folder=str(folder), needed=needed, free=have,
            )  # fmt: skip
    return report


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
