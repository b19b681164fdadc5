"""Benchmarks of `manage.py bench`: what each measures, and which module holds it.

A module here has a function `run(place: harness.Place) -> harness.Report`. pytest does not collect them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bench:
    """One benchmark. `runs`: how often it measures when nobody says otherwise."""

    module: str
    summary: str
    runs: int


BENCHES: dict[str, Bench] = {
    "freeze": Bench("tests.bench.freeze", "How long a backup stops writing, against stopping the services.", 20),
    "backup": Bench("tests.bench.backup", "The way into the repository, against plain restic backup.", 5),
    "restore": Bench("tests.bench.restore", "A restore and its downtime, against plain restic and pg_restore.", 5),
    "sets-page": Bench("tests.bench.sets_page", "Pages of the list of 10,000 sets, against restic's own list.", 20),
    "redeploy": Bench("tests.bench.redeploy", "What people notice of a redeploy, against plain docker compose.", 5),
    "deploy": Bench("tests.bench.deploy", "How long a deploy takes, against plain docker compose up --wait.", 3),
}
