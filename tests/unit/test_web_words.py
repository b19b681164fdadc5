"""How values read on the portal's pages."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from backups.restore.preview import Side, compare
from portal.operations.models import State, StepState
from portal.runtime.protocol import State as ServiceState
from portal.vaults.models import DrillState, RestoreState, SetState
from portal.web import preview, words
from portal.web.icons import ICONS
from portal.web.services import health_of
from portal.web.templatetags import ragkeep


@pytest.mark.parametrize("states", [State, StepState, ServiceState, SetState, DrillState, RestoreState])
def test_every_state_there_is_has_a_word_and_an_icon_of_its_own(states: type[State]) -> None:
    for state in states:
        assert str(state) in words.LOOKS
        assert words.look(str(state)).icon in ICONS


def test_no_two_tones_share_an_icon_so_that_colour_is_never_alone() -> None:
    tones: dict[str, set[str]] = {}
    for look in words.LOOKS.values():
        tones.setdefault(look.icon, set()).add(look.tone)
    assert tones["good"] == {"good"}
    assert tones["bad"] == {"bad"}
    assert tones["warn"] == {"warn"}
    assert tones["busy"] == {"busy"}


def test_a_state_nobody_knows_shows_as_itself() -> None:
    assert words.look("half_done") == words.Look("idle", "idle", "Half done")
    assert words.look("").word == "Unknown"


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([], "Unknown"),
        (["healthy", "healthy"], "Healthy"),
        (["stopped", "stopped"], "Stopped"),
        (["healthy", "stopped"], "Unhealthy"),
        (["healthy", "starting"], "Starting"),
        (["starting", "unhealthy"], "Unhealthy"),
        (["unhealthy", "failed", "starting"], "Failed"),
    ],
)
def test_the_worst_service_speaks_for_the_stack(states: list[str], word: str) -> None:
    assert health_of(states).word == word


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "\u2013"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (173_000_000, "165 MiB"), (2**60, "1024 PiB")],
)
def test_sizes(count: int | None, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\u2013"), (0.0524, "52 ms"), (8.34, "8.3 s"), (41.2, "41 s"), (60, "1 min"), (93.6, "1 min 34 s"),
        (3600, "1 h"), (7500, "2 h 5 min"), (345_600, "4 d"), (-1, "0 ms"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_a_bar_is_full_only_when_it_is_done() -> None:
    assert [words.percent(f) for f in (0, 0.999, 1, 1.7, -1)] == ["0 %", "99 %", "100 %", "100 %", "0 %"]


def test_values_carry_the_unit_that_their_name_tells() -> None:
    values = {"freeze_ms": 52.4, "bytes_added": 3_400_000, "seconds": 93.6, "documents": 1398, "canary": {"agree": 1.0}}
    shown = [(words.titled(name), words.measured(name, value)) for name, value in values.items()]
    assert shown == [
        ("Freeze", "52 ms"),
        ("Bytes added", "3.2 MiB"),
        ("Seconds", "1 min 34 s"),
        ("Documents", "1,398"),
        ("Canary", "1 agree"),
    ]
    assert words.remark("files", 12) == "12 files"
    assert words.remark("model", "smollm2:135m") == "model smollm2:135m"


def test_counts_come_in_the_order_operators_read_them() -> None:
    names = [name for name, _ in ragkeep.ordered({"zebras": 1, "users": 4, "chunks": 9, "documents": 2, "apes": 3})]
    assert names == ["documents", "chunks", "users", "apes", "zebras"]


def test_a_preview_compares_what_both_sides_counted() -> None:
    rows = preview.rows({"documents": 10, "chunks": 50, "users": 4}, {"documents": 12, "chunks": 20, "models": 2})
    assert [(r.title, r.now, r.then, r.change, r.lost) for r in rows] == [
        ("Documents", 10, 12, 2, 0),
        ("Chunks", 50, 20, -30, 30),
    ]
    assert preview.rows({}, {"documents": 12}) == []


def test_a_preview_names_what_comes_and_goes() -> None:
    report = compare(
        Side({"users": 4, "documents": 2}, Counter({("a.txt", "1"): 1, ("b.txt", "2"): 1}), frozenset({"new"})),
        Side({"users": 4, "documents": 1}, Counter({("a.txt", "1"): 1}), frozenset({"old"})),
    )
    seen = preview.changes(report)
    assert [(row.title, row.change) for row in seen.rows] == [("Documents", -1), ("Users", 0)]
    assert (seen.documents_gained.count, seen.documents_lost.names) == (0, ["b.txt"])
    assert (seen.models_gained.names, seen.models_lost.names) == (["old"], ["new"])
    assert preview.changes(compare(Side(documents=None), Side())).documents_lost.count is None
    assert preview.Names(60, ["x"] * 50).unnamed == 10


def test_markup_in_logs_is_shown_not_run() -> None:
    assert ragkeep.highlight("<b>Error</b> & error", "error") == (
        "&lt;b&gt;<mark>Error</mark>&lt;/b&gt; &amp; <mark>error</mark>"
    )
    assert ragkeep.highlight("<i>", "") == "&lt;i&gt;"
    assert ragkeep.codes("run `ls <x>` now") == "run <code>ls &lt;x&gt;</code> now"
    assert ragkeep.codes("an open ` quote <") == "an open ` quote &lt;"


def test_a_time_is_readable_without_a_script() -> None:
    at = datetime(2026, 11, 22, 13, 29, 5, tzinfo=UTC)
    made = ragkeep.moment(at)
    assert 'datetime="2026-11-22T13:29:05.000+00:00"' in made
    assert ">22 Nov 2026, 13:29 UTC</time>" in made
    assert ragkeep.moment(at.timestamp()) == ragkeep.moment(at.isoformat()) == made
    assert ragkeep.moment(None) == "\u2013"
