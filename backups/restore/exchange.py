"""Directory entries that change places, durably."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES})
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def exchange(one: Path, other: Path) -> bool:
    """Let two existing entries of one filesystem change places in one atomic step, renameat2(2).

    Returns:
        False when kernel, C library or filesystem cannot do it; nothing has changed then.

    Raises:
        OSError: anything else went wrong, such as a missing entry.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), os.fspath(one), None, os.fspath(other))


def sync_folder(folder: Path) -> None:
    """Make renames, creations and removals inside `folder` survive a power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_or_copy(source: Path, place: Path) -> None:
    """Give a file a second place, or a copy there where the filesystem has no links for it. What is at `place` already
    stays; a crash leaves nothing there or all of it."""
    if place.exists():
        return
    try:
        os.link(source, place)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        draft = place.with_name(f".{place.name}.copied")
        shutil.copy2(source, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(place)


def write_durably(path: Path, text: str) -> None:
    """Replace `path` by `text` so that a crash leaves the old content or the new, never a part of it."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
