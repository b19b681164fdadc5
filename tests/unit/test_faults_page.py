"""The page of faults names a test for every case, and every test it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \|.*\| `(tests/[\w/.]+)::(\w+)` \|$", re.MULTILINE)


def rows() -> list[tuple[int, str, str]]:
    page = (ROOT / "docs" / "explanation" / "faults.md").read_text(encoding="utf-8")
    return [(int(number), path, name) for number, path, name in ROW.findall(page)]


def test_every_case_has_a_row() -> None:
    assert [number for number, _, _ in rows()] == list(range(1, 29))


def test_every_test_that_is_named_exists() -> None:
    missing = [
        f"{number}: {path}::{name}"
        for number, path, name in rows()
        if not (ROOT / path).is_file() or f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ]
    assert missing == []
