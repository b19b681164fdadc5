"""How long a restore takes beside plain `restic restore` and `pg_restore`, and how long the stack is down meanwhile.

Ours is the product's agent: stage, swap, discard, with the services stopped and started around the swap as the portal
does. The time that is compared is that of the staging without its verification, which is told apart.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from backups import process
from backups.restore.database import DatabaseNames
from tests.bench import data
from tests.bench.harness import Bound, Measure, Place, Report, Spread, in_turn, spread
from tests.bench.installation import USERS_OF_DATA, Installation, running
from tests.support import servers

RATIO, SAME = 1.25, 1.25
SMALLER = 10


@dataclass
class Restores:
    """Restores of one set into the stack it came from."""

    stack: Installation
    set_id: str = ""
    steps: list[dict[str, float]] = field(default_factory=list)
    indexed: list[float] = field(default_factory=list)
    unserved: list[float] = field(default_factory=list)
    downtimes: list[float] = field(default_factory=list)

    @property
    def repository(self) -> Path:
        return self.stack.root / "repositories" / "ours"

    def make_set(self) -> None:
        self.repository.parent.mkdir()
        self.stack.agent("init", repository=self.repository)
        self.set_id = str(self.stack.agent("backup", repository=self.repository).last["set"])

    def ours(self) -> float:
        """Restore as the portal does; returns the seconds of staging without its verification."""
        job = {"operation": uuid4(), "set": self.set_id, "repository": self.repository}
        began = time.perf_counter()
        staged = self.stack.agent("stage", **job, options={"preview": False}).last
        seconds = time.perf_counter() - began
        self.steps.append(staged["seconds"])
        self.indexed.append(self._index_words(str(job["operation"])))
        self._put_in_place(job)
        proofs: list[float] = [
            taken for name, taken in staged["seconds"].items() if name.startswith(("verify", "check"))
        ]
        return seconds - sum(proofs)

    def _index_words(self, operation: str) -> float:
        """The index of words, built beside the one in use while everything still serves, as the portal has it done."""
        words = ["--database", DatabaseNames("rag", operation).staging, "--beside", f"staging-{operation}"]
        began = time.perf_counter()
        process.run([sys.executable, "-m", "rag_api", "build-words", *words], env=self.stack.env, cwd=servers.REPO)
        return time.perf_counter() - began

    def _put_in_place(self, job: dict[str, object]) -> None:
        began = time.perf_counter()
        self.stack.stop(*USERS_OF_DATA)
        self.stack.agent("swap", **job)
        self.stack.start("vectordb", "api")
        self.unserved.append((time.perf_counter() - began) * 1000)
        self.stack.start("ingest")
        self.downtimes.append((time.perf_counter() - began) * 1000)
        canary = self.stack.agent("canary", **job).last
        assert canary["canary"]["passed"], canary
        self.stack.agent("discard", **job)

    def plain(self, folder: Path) -> float:
        """`restic restore` of the same snapshot and `pg_restore` of its dump; returns the seconds of both."""
        environment = {**self.stack.restic(self.repository), "PGPASSWORD": self.stack.secret("postgres")}
        where = ["-h", "127.0.0.1", "-p", str(self.stack.ports["postgres"]), "-U", "rag"]
        began = time.perf_counter()
        process.run([servers.RESTIC, "restore", "latest", "--target", str(folder)], env=environment)
        process.run([servers.PG_BIN / "createdb", *where, "plain"], env=environment)
        dump = folder / "set" / "postgres" / "database.dump"
        process.run([servers.PG_BIN / "pg_restore", *where, "-d", "plain", str(dump)], env=environment)
        os.sync()  # as ours, which has everything on disk before it exchanges anything
        seconds = time.perf_counter() - began
        process.run([servers.PG_BIN / "dropdb", *where, "plain"], env=environment)
        shutil.rmtree(folder)
        return seconds


def run(place: Place) -> Report:
    """Restore by ours and by plain restic in turn, with all the data and with a tenth of it."""
    chunks = place.chunks or 100_000
    roots = [data.installation(place.cache, place.folder, n, place.say) for n in (chunks, max(chunks // SMALLER, 1))]
    with running(roots[0]) as first, running(roots[1]) as second:
        large, small = Restores(first), Restores(second)
        for one in (large, small):
            one.make_set()
        ours, plain = in_turn(
            place.runs, lambda: _ours(place, large, small), lambda: _plain(place, large, place.folder / "plain")
        )
        facts = {
            "chunks": chunks,
            "bytes": data.volume_bytes(first.root),
            "smaller_bytes": data.volume_bytes(second.root),
        }
    measures = [
        Measure("restore without verification", "s", ours, "restic restore and pg_restore", plain),
        Measure(
            "downtime until questions are answered",
            "ms",
            spread(large.unserved),
            "with a tenth of the data",
            spread(small.unserved),
        ),
        Measure(
            "downtime until healthy", "ms", spread(large.downtimes), "with a tenth of the data", spread(small.downtimes)
        ),
        *(Measure(f"step {name}", "s", _step(large, name)) for name in large.steps[0]),
        Measure("step words", "s", spread(large.indexed)),
    ]
    bounds = [
        Bound("restore, ours over plain", measures[0].ratio or 0, RATIO),
        Bound("until questions are answered, all the data over a tenth of it", measures[1].ratio or 0, SAME),
        Bound("downtime until healthy, all the data over a tenth of it", measures[2].ratio or 0, SAME),
    ]
    return Report(measures, bounds, facts)


def _step(restores: Restores, name: str) -> Spread:
    return spread([one[name] for one in restores.steps])


def _ours(place: Place, large: Restores, small: Restores) -> float:
    small.ours()
    found = large.ours()
    place.say(f"ours: {found:.2f} s, down for {large.downtimes[-1]:.0f} ms, with a tenth {small.downtimes[-1]:.0f} ms")
    return found


def _plain(place: Place, restores: Restores, folder: Path) -> float:
    found = restores.plain(folder)
    place.say(f"plain: {found:.2f} s")
    return found
