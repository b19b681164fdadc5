"""A value that nobody sees by accident."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Secret:
    """Holds a secret string; printing, formatting, logging and pickling it shows `***`, only `reveal()` shows it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Secret:
        """Read a secret from a file, without the trailing newline.

        Raises:
            OSError: it cannot be read.
            ValueError: it is empty.
        """
        value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        if not value:
            raise ValueError(f"{path} is empty: it must hold the secret on one line")
        return cls(value)

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "***"

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return (Secret, ("***",))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def write_secret(path: str | os.PathLike[str], value: str) -> None:
    """Create a file that only its owner can read, holding `value` and a newline.

    Raises:
        FileExistsError: it exists; a secret is never overwritten.
    """
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(target, "w", encoding="utf-8") as file:
        file.write(value + "\n")
        file.flush()
        os.fsync(file.fileno())
