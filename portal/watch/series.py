"""What a service used over time, worked out from samples that count from its start. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Services that were not seen for longer have a gap in their curve.
GAP_SECONDS = 30 * 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A sample: `at` a Unix time, seconds of processor time and bytes counted from the service's start."""

    at: float
    memory_bytes: int
    cpu_seconds: float
    network: int | None = None
    disk: int | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """What was used in the time up to `at`: processors (1.0: one whole processor), bytes, bytes a second; None is what
    nobody knows."""

    at: float
    processors: float | None
    memory_bytes: int
    network: float | None
    disk: float | None


def points(readings: Sequence[Reading]) -> list[Point]:
    """One point for each reading, in their order."""
    return [_point(before, now) for before, now in zip([None, *readings], readings, strict=False)]


def _point(before: Reading | None, now: Reading) -> Point:
    if before is None or not 0 < now.at - before.at <= GAP_SECONDS:
        return Point(now.at, None, now.memory_bytes, None, None)
    seconds = now.at - before.at
    return Point(
        now.at,
        _rate(before.cpu_seconds, now.cpu_seconds, seconds),
        now.memory_bytes,
        _rate(before.network, now.network, seconds),
        _rate(before.disk, now.disk, seconds),
    )


def _rate(before: float | None, now: float | None, seconds: float) -> float | None:
    """What was added in a second; a count that has become smaller began anew in between."""
    if before is None or now is None:
        return None
    return (now - before if now >= before else now) / seconds


def peaks(found: Sequence[tuple[float, float]], *, begin: float, end: float, most: int) -> list[tuple[float, float]]:
    """At most `most` of these (time, value) pairs: of each stretch of time the one with the highest value."""
    width = (end - begin) / most
    highest: dict[int, tuple[float, float]] = {}
    for at, value in found:
        place = int((at - begin) / width)
        if place not in highest or value > highest[place][1]:
            highest[place] = (at, value)
    return [highest[place] for place in sorted(highest)]
