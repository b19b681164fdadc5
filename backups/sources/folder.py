"""A further folder or mounted volume, read by restic where it lies."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from backups.errors import JobInvalid, SourceEmpty, SourceMissing, SourceNotMounted, SourceUnreadable
from backups.fields import Fields
from backups.sources.source import Part


class FolderSource:
    """Settings: `path`; `mountpoint`: refuse it while nothing is mounted there; `may_be_empty`."""

    def __init__(self, fields: Fields, work: Path) -> None:
        self._path = Path(fields.filled("path"))
        self._mountpoint = fields.flag("mountpoint", False)
        self._may_be_empty = fields.flag("may_be_empty", False)
        if not self._path.is_absolute() or self._path == Path("/"):
            raise JobInvalid(f"{fields.path}.path: expected an absolute path below /, got {str(self._path)[:60]!r}")
        if work.resolve().is_relative_to(self._path.resolve()):
            raise JobInvalid(f"{fields.path}.path: {self._path} holds the folder in which backups are staged, {work}")

    def check(self) -> int:
        """Nothing of it is staged.

        Raises:
            SourceMissing, SourceNotMounted, SourceEmpty, SourceUnreadable
        """
        if not self._path.is_dir():
            raise SourceMissing(f"the folder {self._path} is not there")
        if self._mountpoint and not self._path.is_mount():
            raise SourceNotMounted(f"nothing is mounted at {self._path}")
        try:
            with os.scandir(self._path) as entries:
                empty = next(entries, None) is None
        except OSError as error:
            raise SourceUnreadable(
                f"the folder {self._path} cannot be read: {error.strerror}", "Let the backup's account read it."
            ) from None
        if empty and not self._may_be_empty:
            raise SourceEmpty(f"the folder {self._path} is empty")
        return 0

    def prepare(self, folder: Path) -> None:
        """Nothing is copied ahead."""

    def freeze(self) -> None:
        """A folder cannot be pinned: restic reads it as it is after the thaw."""

    def dump(self, folder: Path) -> None:
        """restic reads it itself."""

    def verify(self, folder: Path) -> Part:
        """Look again: what was unmounted or emptied since the preflight is refused too."""
        self.check()
        files, size = measured(self._path)
        return Part(
            taken_at=datetime.now(UTC),
            in_freeze=False,
            origin={"path": str(self._path)},
            live=self._path,
            live_files=files,
            live_bytes=size,
        )

    def close(self) -> None:
        """Nothing is held."""


def measured(folder: Path) -> tuple[int, int]:
    """Number and bytes of the regular files below a folder, links not followed; what cannot be read counts nothing."""
    files = size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - a Path for each of many files is slow
            except OSError:
                continue
            files, size = files + 1, size + found.st_size
    return files, size
