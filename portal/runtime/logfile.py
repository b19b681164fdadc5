"""Reads the end of a log file, and what is added to it, across rotations."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

BLOCK = 64 * 1024
PAUSE_SECONDS = 0.2


def tail(path: Path, lines: int) -> list[str]:
    """The last `lines` lines; empty when there is no such file."""
    return _tail(path, lines)[0]


def _tail(path: Path, lines: int) -> tuple[list[str], int]:
    try:
        with path.open("rb") as file:
            end = position = file.seek(0, os.SEEK_END)
            data = b""
            while position > 0 and data.count(b"\n") <= lines:
                size = min(BLOCK, position)
                position -= size
                file.seek(position)
                data = file.read(size) + data
    except FileNotFoundError:
        return [], 0
    found = data.decode("utf-8", "replace").splitlines()
    return found[-lines:] if lines > 0 else [], end


def follow(path: Path, lines: int) -> Iterator[str]:
    """The last `lines` lines, then every new one, for ever; a rotated or truncated file is read from its start."""
    found, position = _tail(path, lines)
    yield from found
    inode = _inode(path)
    rest = ""
    while True:
        if _inode(path) != inode or (path.exists() and path.stat().st_size < position):
            inode, position, rest = _inode(path), 0, ""
        text, position = _read_from(path, position)
        *whole, rest = (rest + text).split("\n")
        yield from whole
        if not text:
            time.sleep(PAUSE_SECONDS)


def _read_from(path: Path, position: int) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            file.seek(position)
            data = file.read(BLOCK)
    except FileNotFoundError:
        return "", position
    return data.decode("utf-8", "replace"), position + len(data)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
