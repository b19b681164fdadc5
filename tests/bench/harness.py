"""Measuring ours and the alternative in turn: medians with their spread, ratios, and the bounds that were promised."""

from __future__ import annotations

import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import BENCHES

Say = Callable[[str], None]
Timed = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Place:
    """What a benchmark is given: an empty folder that is removed afterwards, the number of runs, where to tell.

    Attributes:
        cache: folder for prepared data that the next run may use again.
        chunks: how much data to measure on; None leaves it to the benchmark.
    """

    folder: Path
    runs: int
    say: Say
    cache: Path
    chunks: int | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Measurements of one thing; never empty."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_dict(self) -> dict[str, Any]:
        """{median, min, max, runs}"""
        found = {"median": self.median, "min": min(self.values), "max": max(self.values)}
        return {**{name: round(value, 4) for name, value in found.items()}, "runs": len(self.values)}

    def text(self, unit: str) -> str:
        """`12.3 ms (11.0 to 15.1)`"""
        return f"{self.median:.1f} {unit} ({min(self.values):.1f} to {max(self.values):.1f})"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of ours, and of what it is compared with (`against` says what) when there is such a thing."""

    name: str
    unit: str
    ours: Spread
    against: str = ""
    alternative: Spread | None = None

    @property
    def ratio(self) -> float | None:
        """Median of ours over median of the alternative: below 1 ours takes less."""
        return self.ours.median / self.alternative.median if self.alternative and self.alternative.median else None

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.name, "unit": self.unit, "ours": self.ours.as_dict()}
        if self.alternative and self.ratio is not None:
            found |= {"against": self.against, "alternative": self.alternative.as_dict(), "ratio": round(self.ratio, 4)}
        return found

    def text(self) -> str:
        line = f"{self.name}: {self.ours.text(self.unit)}"
        if self.alternative and self.ratio is not None:
            line += f", {self.against}: {self.alternative.text(self.unit)}, ratio {self.ratio:.3g}"
        return line


@dataclass(frozen=True, slots=True)
class Bound:
    """A promise about a figure: `value` must be at most `at_most`."""

    name: str
    value: float
    at_most: float
    unit: str = ""

    @property
    def kept(self) -> bool:
        return self.value <= self.at_most

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "value": round(self.value, 4), "at_most": self.at_most, "unit": self.unit,
            "kept": self.kept,
        }  # fmt: skip

    def text(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{'kept' if self.kept else 'BROKEN'}: {self.name}: {self.value:.4g}{unit}, at most {self.at_most:g}{unit}"
        )


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one benchmark; `facts` say on what they were measured."""

    measures: list[Measure]
    bounds: list[Bound]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(bound.kept for bound in self.bounds)

    def as_dict(self) -> dict[str, Any]:
        return {
            "kept": self.kept,
            "measures": [measure.as_dict() for measure in self.measures],
            "bounds": [bound.as_dict() for bound in self.bounds],
            "facts": self.facts,
        }

    def text(self) -> str:
        facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.facts.items())
        return "\n".join([facts, *(m.text() for m in self.measures), *(b.text() for b in self.bounds)])


def spread(values: Sequence[float]) -> Spread:
    return Spread(tuple(values))


def in_turn(runs: int, ours: Timed, alternative: Timed) -> tuple[Spread, Spread]:
    """Measure both `runs` times, in turn and each round in the other order, so that what drifts meets both alike.

    Each callable does its work once and returns what it measured, in the unit of its measure.
    """
    found: dict[Timed, list[float]] = {ours: [], alternative: []}
    for number in range(runs):
        for act in (ours, alternative) if number % 2 == 0 else (alternative, ours):
            found[act].append(act())
    return spread(found[ours]), spread(found[alternative])


def milliseconds(act: Callable[[], object]) -> float:
    """How long `act` takes by the clock of the wall."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def run(name: str, *, runs: int | None, chunks: int | None = None, under: Path, cache: Path, say: Say) -> Report:
    """Run the benchmark `name` in a folder of its own below `under`, which is removed at the end."""
    bench, load = BENCHES[name], os.getloadavg()[0]
    under.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=under, ignore_cleanup_errors=True) as folder:
        place = Place(Path(folder), runs or bench.runs, say, cache, chunks)
        report: Report = importlib.import_module(bench.module).run(place)
    report.facts.update(processors=os.cpu_count(), load_before=round(load, 1))
    return report
