"""Curves as SVG paths, drawn by the server: no script, no library. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from portal.watch.series import GAP_SECONDS, Point, peaks
from portal.web import words

WIDTH, HEIGHT = 240.0, 44.0
# More than there are pixels for says nothing more.
MOST_POINTS = 120

Curve = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A curve in a box of WIDTH by HEIGHT: the line and the area below it as SVG paths, what they mean in words."""

    title: str
    line: str
    area: str
    now: str
    most: str

    @property
    def summary(self) -> str:
        """For those who cannot see the curve."""
        return f"{self.title}: {self.now} now, {self.most} at most"


@dataclass(frozen=True, slots=True)
class Measure:
    """What of a point is drawn, and how its values read; a curve that stays below `least` does not fill the box."""

    title: str
    value: Callable[[Point], float | None]
    words: Callable[[float], str]
    least: float


def processors(value: float) -> str:
    """`12 %` of one processor, `0.3 %` when it is little."""
    return f"{value * 100:.0f} %" if value >= 0.095 or value == 0 else f"{value * 100:.1f} %"


def per_second(value: float) -> str:
    return f"{words.size(value)}/s"


MEASURES = (
    Measure("Processor", lambda point: point.processors, processors, 0.1),
    Measure("Memory", lambda point: point.memory_bytes, words.size, 2**20),
    Measure("Network", lambda point: point.network, per_second, 1024),
    Measure("Disk", lambda point: point.disk, per_second, 1024),
)


def charts(found: Sequence[Point], *, begin: float, end: float) -> list[Chart]:
    """A chart of each measure that anybody knows, from `begin` to `end` (Unix times)."""
    drawn = (_chart(measure, found, begin, end) for measure in MEASURES)
    return [chart for chart in drawn if chart is not None]


def _chart(measure: Measure, found: Sequence[Point], begin: float, end: float) -> Chart | None:
    curve = [(point.at, value) for point in found if (value := measure.value(point)) is not None and point.at >= begin]
    if not curve:
        return None
    highest = max(value for _, value in curve)
    drawn = peaks(curve, begin=begin, end=end, most=MOST_POINTS)
    line, area = paths(drawn, begin=begin, end=end, top=max(highest, measure.least))
    return Chart(measure.title, line, area, measure.words(curve[-1][1]), measure.words(highest))


def paths(curve: Curve, *, begin: float, end: float, top: float) -> tuple[str, str]:
    """The line and the area of a curve that is interrupted where nothing was measured for long."""
    # A gap must be wider than the distance of two samples, and of two points of a long time.
    gap = max(GAP_SECONDS / 2, (end - begin) / MOST_POINTS * 2.5)
    runs = list[Curve]()
    for at, value in curve:
        if not runs or at - runs[-1][-1][0] > gap:
            runs.append([])
        runs[-1].append((at, value))
    placed = [[_place(at, value, begin, end, top) for at, value in run] for run in runs]
    return " ".join(map(_line, placed)), " ".join(map(_area, placed))


def _place(at: float, value: float, begin: float, end: float, top: float) -> tuple[float, float]:
    across = min(max((at - begin) / (end - begin), 0.0), 1.0) * WIDTH
    # Half of the line's own width stays inside at the top and at the bottom.
    return across, HEIGHT - 1 - value / top * (HEIGHT - 2)


def _line(run: Curve) -> str:
    if len(run) == 1:
        # A dot: one moment has no line.
        run = [run[0], (run[0][0] + 0.01, run[0][1])]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run)


def _area(run: Curve) -> str:
    return f"{_line(run)}L{run[-1][0]:.1f} {HEIGHT:g}L{run[0][0]:.1f} {HEIGHT:g}Z"
