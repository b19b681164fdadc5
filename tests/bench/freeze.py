"""How long a backup stops writing, at 100,000 chunks and at a tenth, while people search, upload and delete.

Ours is the product's own agent on the RAG service's own processes. The alternative is what the usual tools do to get
one consistent copy: stop the services, `restic backup` everything, start them again; writes and reads are refused
meanwhile.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from backups import process
from tests.bench import data, load
from tests.bench.harness import Bound, Measure, Place, Report, spread
from tests.bench.installation import Installation, running
from tests.bench.load import Call
from tests.support import servers

MEDIAN_MS, WORST_MS, BEYOND_MS, READS = 100.0, 500.0, 500.0, 2.0
IDLE_SECONDS = 3.0
WARM_UP_SECONDS = 8.0
STOPPED_RUNS = 3
SMALLER = 10


@dataclass
class Seen:
    """What one size of data showed. Times in ms; `spans`: (began, ended) of backups and of the idle times between."""

    chunks: int
    freezes: list[float] = field(default_factory=list)
    backups: list[tuple[float, float]] = field(default_factory=list)
    frozen: list[tuple[float, float]] = field(default_factory=list)
    idles: list[tuple[float, float]] = field(default_factory=list)
    seconds: list[dict[str, float]] = field(default_factory=list)
    complete: int = 0
    calls: list[Call] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)
    attempts: list[int] = field(default_factory=list)
    bytes: dict[str, int] = field(default_factory=dict)

    def during(self, spans: list[tuple[float, float]], *kinds: str) -> list[float]:
        """How long the calls of these kinds took that met one of the spans, in ms."""
        return [c.milliseconds for c in self.calls if c.kind in kinds and any(c.overlaps(*span) for span in spans)]

    def written_while_frozen(self) -> int:
        """Writes through the gate that began and ended inside a freeze: there must be none."""
        return sum(c.kind == load.GATED and any(c.within(*span) for span in self.frozen) for c in self.calls)


def run(place: Place) -> Report:
    """Measure `chunks` with `runs` backups, then a tenth of the chunks with as many, then put them side by side."""
    chunks = place.chunks or 100_000
    large = _measured(place, chunks, stopped=True)
    small = _measured(place, max(chunks // SMALLER, 1), stopped=False)
    return _report(large, small)


def _measured(place: Place, chunks: int, *, stopped: bool) -> Seen:
    seen = Seen(chunks)
    root = data.installation(place.cache, place.folder, chunks, place.say)
    with running(root) as stack:
        seen.bytes = data.volume_bytes(root)
        repository = root / "repositories" / "ours"
        repository.parent.mkdir()
        stack.agent("init", repository=repository)
        with load.working(stack) as work:
            time.sleep(WARM_UP_SECONDS)
            began = time.time()
            for number in range(place.runs):
                _idle(seen)
                _backup(stack, repository, seen)
                place.say(f"{chunks:,} chunks, run {number + 1}: frozen for {seen.freezes[-1]:g} ms")
            seen.calls = work.since(began, load.READ, *load.WRITES)
            seen.slowest = _slowest(work.writer, seen.backups)
        if stopped:
            for _ in range(min(place.runs, STOPPED_RUNS)):
                seen.stopped.append(_stopped(stack, root / "repositories" / "plain"))
                place.say(f"{chunks:,} chunks, services stopped for the whole copy: {seen.stopped[-1]:.0f} ms")
    return seen


def _slowest(writer: load.GatedWriter | None, backups: list[tuple[float, float]]) -> dict[str, float]:
    """Where the slowest gated write spent its time, in ms, and how many seconds into a backup it began."""
    began, waited, worked = writer.slowest if writer else (0.0, 0.0, 0.0)
    into = [began - start for start, end in backups if start <= began < end]
    return {
        "gate": round(waited, 1),
        "stores": round(worked, 1),
        "seconds_into_backup": round(into[0], 1) if into else -1,
    }


def _idle(seen: Seen) -> None:
    began = time.time()
    time.sleep(IDLE_SECONDS)
    seen.idles.append((began, time.time()))


def _backup(stack: Installation, repository: Path, seen: Seen) -> None:
    began = time.time()
    result = stack.agent("backup", repository=repository).last
    seen.backups.append((began, time.time()))
    seen.complete += result["state"] == "complete"
    seen.attempts.append(int(result["freeze"]["attempt"]))
    seen.freezes.append(float(result["freeze_ms"]))
    seen.seconds.append(result["seconds"])
    moments = (result["freeze"]["taken_at"], result["freeze"]["thawed_at"])
    first, last = (datetime.fromisoformat(moment).timestamp() for moment in moments)
    seen.frozen.append((first, last))


def _stopped(stack: Installation, repository: Path) -> float:
    """Stop, copy, start, as the usual tools do; returns for how many ms nobody was served."""
    environment = stack.restic(repository)
    if not repository.exists():
        process.run([servers.RESTIC, "init"], env=environment)
    names = ("ingest", "api", "vectordb", "postgres")
    began = time.perf_counter()
    stack.stop(*names)
    process.run([servers.RESTIC, "backup", str(stack.root / "volumes"), str(stack.root / "pg")], env=environment)
    stack.start(*reversed(names))
    return (time.perf_counter() - began) * 1000


def _report(large: Seen, small: Seen) -> Report:
    runs = len(large.freezes)
    writes = large.during(large.backups, *load.WRITES)
    busy, idle = large.during(large.backups, load.READ), large.during(large.idles, load.READ)
    faults = [call for seen in (large, small) for call in seen.calls if call.fault]
    measures = [
        Measure("freeze", "ms", spread(large.freezes), "services stopped for the copy", spread(large.stopped)),
        Measure("freeze with a tenth of the chunks", "ms", spread(small.freezes)),
        Measure("search during a backup", "ms", spread(busy), "search when idle", spread(idle)),
        Measure("write during a backup", "ms", spread(writes)),
        *_steps(large),
    ]
    slowest, worst = max(writes), max(large.freezes)
    bounds = [
        Bound("freeze, median", statistics.median(large.freezes), MEDIAN_MS, "ms"),
        Bound("freeze, worst", worst, WORST_MS, "ms"),
        Bound("freeze with a tenth of the chunks, median", statistics.median(small.freezes), MEDIAN_MS, "ms"),
        Bound("sets that did not verify", 2 * runs - large.complete - small.complete, 0),
        Bound("reads and writes that failed", len(faults), 0),
        Bound(
            "writes through the gate inside a freeze", large.written_while_frozen() + small.written_while_frozen(), 0
        ),
        Bound("slowest write", slowest, worst + BEYOND_MS, "ms"),
        Bound("search p99 during a backup over idle", percentile(busy, 99) / percentile(idle, 99), READS),
    ]
    return Report(measures, bounds, _facts(large, small, busy, idle, faults))


def _steps(seen: Seen) -> list[Measure]:
    names = list(seen.seconds[0])
    return [Measure(f"step {name}", "s", spread([one[name] for one in seen.seconds])) for name in names]


def _facts(large: Seen, small: Seen, busy: list[float], idle: list[float], faults: list[Call]) -> dict[str, Any]:
    return {
        "chunks": large.chunks,
        "vector_bytes": large.bytes["vectors"],
        "smaller_chunks": small.chunks,
        "smaller_vector_bytes": small.bytes["vectors"],
        "searches_during_backups": len(busy),
        "searches_when_idle": len(idle),
        "search_p99_during_backups_ms": round(percentile(busy, 99), 1),
        "search_p99_idle_ms": round(percentile(idle, 99), 1),
        "slowest_ms": {kind: round(max(large.during(large.backups, kind)), 1) for kind in load.WRITES},
        "slowest_idle_ms": {kind: round(max(large.during(large.idles, kind)), 1) for kind in load.WRITES},
        "slowest_gated_write": large.slowest,
        "most_attempts": max(large.attempts),
        "first_fault": faults[0].fault if faults else "",
    }


def percentile(values: list[float], wanted: int) -> float:
    """The value below which `wanted` % of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * wanted // 100)]
