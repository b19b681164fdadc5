"""What containers wrote, as the engine gives it back: frames of both streams, each line with its moment."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple

FRAME_HEADER = 8
SECONDS = len("2026-01-02T03:04:05")


class Line(NamedTuple):
    """A line and its moment (UTC, RFC 3339 with all nine digits of the second's parts, so that texts sort by time)."""

    moment: str
    text: str


def lines(raw: bytes, *, terminal: bool = False) -> list[Line]:
    """The lines in an answer of the engine; with a `terminal` there are no frames."""
    text = (raw if terminal else b"".join(_payloads(raw))).decode("utf-8", "replace")
    found = (line.partition(" ") for line in text.split("\n") if line)
    return [Line(moment, rest.removesuffix("\r")) for moment, _, rest in found]


def _payloads(raw: bytes) -> Iterator[bytes]:
    """The contents of frames: a byte for the stream, three empty ones, the length, that many bytes."""
    at = 0
    while at + FRAME_HEADER <= len(raw):
        end = at + FRAME_HEADER + int.from_bytes(raw[at + 4 : at + FRAME_HEADER], "big")
        yield raw[at + FRAME_HEADER : end]
        at = end


def merged(many: Collection[list[Line]]) -> list[Line]:
    """The lines of several containers in the order in which they were written."""
    return sorted((line for found in many for line in found), key=lambda line: line.moment)


def just_after(moment: str) -> str:
    """The next nanosecond after a line's moment, as seconds since 1970, which is how the engine is asked."""
    whole = int(datetime.fromisoformat(f"{moment[:SECONDS]}+00:00").timestamp())
    nanoseconds = int(moment[SECONDS + 1 :].rstrip("Z")) + 1
    return f"{whole + nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"
