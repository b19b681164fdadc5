"""What services write is made fit to be shown: no escapes, no secrets, a level, a moment, one order."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from portal.stacks.loglines import Line, Wanted, clean, level_of, lines_of, masked, merged, moment_of

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[38;5;069m(((\x1b[0m done", "((( done"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\rb\x00c\x1b", "abc"),
        ("evil\u202etxt", "eviltxt"),
        ("\x9b31mred", "31mred"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_what_steers_a_terminal_is_left_out(written: str, shown: str) -> None:
    assert clean(written) == shown


def test_a_very_long_line_is_cut() -> None:
    assert len(clean("x" * 100_000)) < 4100


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("the key is tok-4711-abcdef.", "the key is ***."),
        ("connecting to postgresql://rag:hunter2@postgres:5432/rag", "connecting to postgresql://rag:***@postgres:5432/rag"),
        ("redis://:pw$x@redis:6379/0", "redis://:***@redis:6379/0"),
        ("Authorization: Bearer eyJhbGciOi.J9", "Authorization: ***"),
        ("sent Bearer eyJhbGciOi.J9", "sent Bearer ***"),
        ('{"password": "x y", "name": "Ada"}', '{"password": ***, "name": "Ada"}'),
        ("POSTGRES_PASSWORD=abc rest", "POSTGRES_PASSWORD=*** rest"),
        ("api_key='sk-1'", "api_key=***"),
        ("reading /run/secrets/token of 12 tokens", "reading /run/secrets/token of 12 tokens"),
    ],
)  # fmt: skip
def test_secrets_are_not_shown(written: str, shown: str) -> None:
    assert masked(written, ["tok-4711-abcdef", "12"]) == shown


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ('{"at": "2026-11-22T15:42:36+00:00", "level": "error", "message": "INFO"}', "error"),
        ("INFO:     Started server process [25255]", "info"),
        ("2026-11-22 15:42:29.770 UTC [25064] FATAL:  password authentication failed", "error"),
        ("2026/11/22 15:42:29 [warn] 12#12: an upstream response is buffered", "warning"),
        ("25065:M 22 Nov 2026 15:42:27.627 # WARNING Memory overcommit must be enabled!", "warning"),
        ('{"time":"2026-11-22T15:42:29+00:00","status":502,"seconds":0.1}', "error"),
        ('{"time":"2026-11-22T15:42:29+00:00","status":404}', "warning"),
        ("Traceback (most recent call last):", "error"),
        ("MemoryError", "error"),
        ("information about errors", ""),
        ("", ""),
    ],
)
def test_the_level_is_the_one_the_line_tells(text: str, level: str) -> None:
    assert level_of(text) == level


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ('{"at": "2026-11-22T12:00:00.250+00:00"}', NOON + 0.25),
        ('{"at": "2026-11-22T14:00:00.250+02:00"}', NOON + 0.25),
        ("2026-11-22 12:00:00.770 UTC [25064] LOG", NOON + 0.77),
        ("2026-11-22T12:00:00.123456789Z", NOON + 0.123456789),
        ("2026/11/22 13:00:00 [warn]", NOON),
        ("25065:M 22 Nov 2026 13:00:00.500 * ready", NOON + 0.5),
        ("2026-13-45 99:00:00", None),
        ("no moment", None),
    ],
)
def test_a_moment_without_a_zone_is_one_of_this_machine(text: str, at: float | None) -> None:
    found = moment_of(text, ZoneInfo("Europe/Berlin"))
    assert found == (None if at is None else pytest.approx(at))


def test_a_traceback_belongs_to_the_error_before_it() -> None:
    texts = ["ERROR broke", '  File "x.py", line 1', "INFO again", "plain"]
    assert [line.level for line in lines_of("api", texts)] == ["error", "error", "info", "info"]


def test_lines_of_several_services_are_in_the_order_of_their_moments() -> None:
    one = [Line("a", "a1", "info", 1.0), Line("a", "a2", "info", None), Line("a", "a3", "info", 5.0)]
    two = [Line("b", "b0", "info", None), Line("b", "b1", "info", 3.0)]
    timeless = [Line("c", "c1", "info"), Line("c", "c2", "info")]
    assert [line.text for line in merged([one, two, timeless])] == ["c1", "c2", "a1", "a2", "b0", "b1", "a3"]


def test_search_is_by_level_and_text() -> None:
    line = Line("api", "Slow answer", "warning")
    assert Wanted("slow", "warning").takes(line)
    assert not Wanted("slow", "error").takes(line)
    assert not Wanted("fast").takes(line)
