"""Progress reports: their throttling, with a clock of the test's own, and their titles."""

from __future__ import annotations

import re
from pathlib import Path

from portal.operations.progress import Progress, Throttle
from portal.vaults.agent import TITLES


def test_one_report_a_second_gets_through() -> None:
    throttle = Throttle()
    shown = [throttle.offer(Progress("copy", n / 10), n / 10) for n in range(25)]
    assert [p.fraction for p in shown if p] == [0.0, 1.0, 2.0]


def test_a_new_stage_is_shown_at_once() -> None:
    throttle = Throttle()
    assert throttle.offer(Progress("copy", 0.9), 0.0)
    assert throttle.offer(Progress("verify", 0.0), 0.1) == Progress("verify", 0.0)


def test_the_last_report_is_not_lost() -> None:
    throttle = Throttle()
    throttle.offer(Progress("copy", 0.1), 0.0)
    throttle.offer(Progress("copy", 0.5), 0.1)
    throttle.offer(Progress("copy", 1.0), 0.2)
    assert throttle.flush() == Progress("copy", 1.0)
    assert throttle.flush() is None


def test_as_dict_is_what_pages_read() -> None:
    assert Progress("copy", 0.5, {"files": 2}, "a.txt").as_dict() == {
        "stage": "copy",
        "fraction": 0.5,
        "counts": {"files": 2},
        "note": "a.txt",
    }


def test_every_step_of_the_agent_has_a_title_for_people() -> None:
    root = Path(__file__).resolve().parents[2] / "backups"
    text = "\n".join(path.read_text() for path in root.rglob("*.py"))
    named = set(re.findall(r'(?:context\.step|\.progress)\(\s*"([a-z_]+)"', text))
    # Neither is part of an operation's page: the repository's own jobs run behind the scenes.
    named -= {"init", "stats", "snapshots"}
    assert {"freeze", "swap", "restore_postgres"} <= named
    for source in ("documents", "models", "vectors"):
        named |= {f"restore_{source}", f"check_{source}"}
    assert named - set(TITLES) == set()
