"""Which tag of an image follows another. Pure.

The line of a tag: the same writing (a leading `v` or none, as many numbers, the same ending such as `-alpine`) and the
same major version; below 1.0, where every minor version may change anything, the same minor version too. A tag of one
number, or of none, names no version that another could follow: what it stands for moves instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

VERSION = re.compile(r"(v?)(\d{1,9}(?:\.\d{1,9}){1,3})((?:[-+_].*)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """A tag taken apart: `v1.26.3-alpine` is `v`, (1, 26, 3), `-alpine`."""

    prefix: str
    numbers: tuple[int, ...]
    suffix: str

    @property
    def line(self) -> tuple[object, ...]:
        """What all tags of its line have in common."""
        fixed = 2 if self.numbers[0] == 0 else 1
        return self.prefix, len(self.numbers), self.numbers[:fixed], self.suffix


def version_of(tag: str) -> Version | None:
    """The version that a tag names; None when it names none."""
    found = VERSION.fullmatch(tag)
    return Version(found[1], tuple(map(int, found[2].split("."))), found[3]) if found else None


def newest_of_line(tag: str, tags: Iterable[str]) -> str:
    """The tag with the highest version of the same line, empty when none is higher."""
    mine = version_of(tag)
    if mine is None:
        return ""
    known = [(found.numbers, one) for one in tags if (found := version_of(one)) and found.line == mine.line]
    numbers, newest = max(known, default=(mine.numbers, ""))
    return newest if numbers > mine.numbers else ""
