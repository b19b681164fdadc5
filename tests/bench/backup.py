"""What the way into the repository costs, beside plain `restic backup` of the same bytes, and how often restic starts.

Ours is a whole backup by the product's agent; what counts is the restic process that stores the set, measured by a
stand-in for restic that both sides go through. Dump, staging and verification are told apart, by the agent's own steps.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from backups import process
from tests.bench import data
from tests.bench.counting import Counted
from tests.bench.harness import Bound, Measure, Place, Report, Spread, in_turn, spread
from tests.bench.installation import Installation, running
from tests.support import servers

RATIO, STARTS = 1.1, 3


@dataclass
class Bench:
    """A stack at rest, a stand-in for restic, and the bytes of a set as plain files (`same`)."""

    stack: Installation
    restic: Counted
    same: Path
    steps: list[dict[str, float]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    added: list[int] = field(default_factory=list)

    def repository(self, name: str) -> Path:
        return self.stack.root / "repositories" / name

    def renew(self, name: str) -> None:
        """An empty repository in place of the one of that name."""
        shutil.rmtree(self.repository(name), ignore_errors=True)
        process.run([servers.RESTIC, "init"], env=self.stack.restic(self.repository(name)))

    def ours(self, *, unchanged: bool) -> float:
        """A whole backup; returns the seconds that restic stored for."""
        self.restic.taken()
        result = self.stack.agent("backup", repository=self.repository("ours"), restic=self.restic.path).last
        assert result["state"] == "complete", result
        taken = self.restic.taken()
        if unchanged:
            self.steps.append(result["seconds"])
            self.starts.append(len(taken))
            self.commands = [start.command for start in taken]
            self.added.append(int(result["bytes_added"]))
        return next(start.seconds for start in taken if start.command == "backup")

    def plain(self) -> float:
        """`restic backup` of the same bytes; returns its seconds."""
        self.restic.taken()
        argv = [str(self.restic.path), "backup", str(self.same), *map(str, self.live)]
        process.run(argv, env=self.stack.restic(self.repository("plain")))
        return self.restic.taken()[0].seconds

    @property
    def live(self) -> tuple[Path, Path]:
        """What our sets take straight from where it lives."""
        return self.stack.live("documents"), self.stack.live("models") / "blobs"

    def unpack(self) -> None:
        """The staged part of our latest set as plain files, for plain restic; what is as before is not touched."""
        argv = [str(servers.RESTIC), "restore", "latest:/set", "--target", str(self.same), "--overwrite", "if-changed"]
        process.run(argv, env=self.stack.restic(self.repository("ours")))


def run(place: Place) -> Report:
    """Store the same bytes by ours and by plain restic, into empty repositories and into those that have them."""
    chunks = place.chunks or 100_000
    root = data.installation(place.cache, place.folder, chunks, place.say)
    with running(root) as stack:
        bench = Bench(stack, Counted.wrap(servers.RESTIC, place.folder / "programs"), place.folder / "same")
        (root / "repositories").mkdir()
        bench.renew("ours")
        place.say("one backup, for the bytes of a set")
        bench.ours(unchanged=False)
        bench.unpack()
        cold = in_turn(place.runs, lambda: _cold(bench, place, "ours"), lambda: _cold(bench, place, "plain"))
        warm = _unchanged(bench, place)
        facts = {"chunks": chunks, "bytes": data.volume_bytes(root), "added_unchanged": bench.added[-1]}
    measures = [
        Measure("bytes into an empty repository", "s", cold[0], "plain restic", cold[1]),
        Measure("bytes into a repository that has them", "s", warm[0], "plain restic", warm[1]),
        Measure("starts of restic, unchanged", "times", spread(bench.starts)),
        *(
            Measure(f"step {name}, unchanged", "s", spread([one[name] for one in bench.steps]))
            for name in bench.steps[0]
        ),
    ]
    bounds = [
        Bound("empty repository, ours over plain", measures[0].ratio or 0, RATIO),
        Bound("unchanged repository, ours over plain", measures[1].ratio or 0, RATIO),
        Bound("starts of restic, unchanged", max(bench.starts), STARTS, "times"),
    ]
    return Report(measures, bounds, {**facts, "restic_commands": bench.commands})


def _cold(bench: Bench, place: Place, side: str) -> float:
    bench.renew(side)
    found = bench.ours(unchanged=False) if side == "ours" else bench.plain()
    place.say(f"empty repository, {side}: {found:.2f} s")
    return found


def _unchanged(bench: Bench, place: Place) -> tuple[Spread, Spread]:
    """Backups of a stack that nobody wrote to: plain restic gets what differs even so, the dump and set.json, as ours.

    Before the first both repositories have been given the same set once.
    """
    ours, plain = list[float](), list[float]()
    for number in range(place.runs + 1):
        ours.append(bench.ours(unchanged=number > 0))
        bench.unpack()
        plain.append(bench.plain())
        place.say(f"unchanged, ours: {ours[-1]:.2f} s, plain: {plain[-1]:.2f} s")
    return spread(ours[1:]), spread(plain[1:])
