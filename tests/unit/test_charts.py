"""Curves drawn by the server."""

from __future__ import annotations

import re

import pytest

from portal.watch.series import Point
from portal.web.charts import HEIGHT, WIDTH, charts, paths, processors


def point(at: float, cpu: float | None, memory: int = 1 << 20, network: float | None = None) -> Point:
    return Point(at, cpu, memory, network, None)


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.-]+)", path)]


def test_a_curve_stays_in_its_box_and_touches_its_top() -> None:
    line, area = paths([(0.0, 0.0), (50.0, 4.0), (100.0, 1.0)], begin=0, end=100, top=4.0)
    found = places(line)
    assert found[0] == (0.0, HEIGHT - 1)
    assert found[1] == (WIDTH / 2, 1.0)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in [*found, *places(area)])
    assert area.endswith("Z")


def test_a_gap_interrupts_the_line() -> None:
    line, _ = paths([(0.0, 1.0), (60.0, 1.0), (7200.0, 1.0)], begin=0, end=7200, top=1.0)
    assert line.count("M") == 2


def test_only_what_is_known_is_drawn() -> None:
    found = charts([point(0, None), point(60, 0.5), point(120, 0.25)], begin=0, end=3600)
    assert [chart.title for chart in found] == ["Processor", "Memory"]
    assert found[0].summary == "Processor: 25 % now, 50 % at most"
    assert charts([], begin=0, end=3600) == []


@pytest.mark.parametrize(("value", "words"), [(0.0, "0 %"), (0.004, "0.4 %"), (0.12, "12 %"), (2.5, "250 %")])
def test_processors_in_words(value: float, words: str) -> None:
    assert processors(value) == words
