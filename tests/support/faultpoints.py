"""Holding a process of an installation at a named point, and finding out which points there are; see backups.fault."""

from __future__ import annotations

from pathlib import Path


def arm(var: Path, point: str) -> Path:
    """Make the next process that comes to `point` stop there; returns the file that appears when it has."""
    folder = var / "faults"
    folder.mkdir(exist_ok=True)
    reached = folder / f"{point}.reached"
    reached.unlink(missing_ok=True)
    (folder / f"{point}.armed").touch()
    return reached


def disarm(var: Path) -> None:
    """Let every process pass from now on."""
    for file in (var / "faults").glob("*.armed"):
        file.unlink(missing_ok=True)


class Recorded:
    """The points that were passed while the block ran, each once, in their order."""

    def __init__(self, var: Path) -> None:
        self._file = var / "faults" / "points"
        self.points: list[str] = []

    def __enter__(self) -> Recorded:
        self._file.parent.mkdir(exist_ok=True)
        self._file.touch()
        return self

    def __exit__(self, *_: object) -> None:
        self.points = list(dict.fromkeys(self._file.read_text(encoding="utf-8").split()))
        self._file.unlink()


def chosen(points: list[str], wanted: str, today: int) -> list[str]:
    """All points, those whose name has it, or that many, other ones every day until all had their turn."""
    if wanted == "all":
        return points
    if not wanted.isdigit():
        return [point for point in points if wanted in point]
    count = min(int(wanted), len(points))
    return [points[(today * count + number) % len(points)] for number in range(count)]
