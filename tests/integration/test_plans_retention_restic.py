"""Our retention against `restic forget` itself, on a repository with hundreds of snapshots."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from portal.vaults.retention import Candidate, Policy, keep
from tests.support import servers
from tests.support.restic_history import History

pytestmark = pytest.mark.integration

ZONE = "Europe/Berlin"
POLICIES: list[dict[str, int | str]] = [
    {"last": 7},
    {"hourly": 30, "daily": 9},
    {"daily": 7, "weekly": 5, "monthly": 12, "yearly": 3},
    {"yearly": 10},
    {"within": "1y2m3d5h"},
    {"within": "45d", "weekly": 20, "last": 2},
]


@dataclass(frozen=True, slots=True)
class Known:
    history: History
    sets: list[Candidate]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Three years of snapshots at odd times, dense over both changes of the clock."""
    history = History.make(servers.RESTIC, tmp_path_factory.mktemp("history") / "repository", ZONE)
    dice, zone, end = random.Random(3), ZoneInfo(ZONE), datetime(2025, 10, 30, 9, 15, tzinfo=ZoneInfo("UTC"))
    times = {end - timedelta(minutes=dice.randrange(3 * 365 * 24 * 60)) for _ in range(180)}
    for change in (datetime(2025, 10, 26, tzinfo=zone), datetime(2025, 3, 30, tzinfo=zone)):
        times |= {change.astimezone(ZoneInfo("UTC")) + timedelta(minutes=30 * n) for n in range(-10, 30)}
    ordered = [at.astimezone(zone) for at in sorted(times)]
    return Known(history, [Candidate(name, at) for name, at in zip(history.add(ordered), ordered, strict=True)])


@pytest.mark.parametrize("values", POLICIES, ids=str)
def test_the_same_sets_for_the_same_reasons(known: Known, values: dict[str, int | str]) -> None:
    options = [word for name, value in values.items() for word in (f"--keep-{name}", str(value))]
    theirs = known.history.forget(*options)
    ours = keep(known.sets, Policy.read(values, ZoneInfo(ZONE)), datetime.now(ZoneInfo("UTC")))
    assert {found["id"] for found in theirs["keep"]} == set(ours.kept)
    assert {found["id"] for found in theirs["remove"]} == set(ours.removed)
    told = {
        found["snapshot"]["id"]: [text.removesuffix(" snapshot") for text in found["matches"]]
        for found in theirs["reasons"]
    }
    assert told == ours.kept
