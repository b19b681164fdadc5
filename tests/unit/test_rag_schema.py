"""Which schema a program can work with."""

from __future__ import annotations

import pytest

from rag_api.schema import NOTE, Schema, lineage, newest_revision, oldest_code, oldest_of, read_schema

NEWER = "9999"


def test_the_lineage_is_in_order_and_ends_with_what_the_code_makes() -> None:
    assert list(lineage()) == sorted(lineage())
    assert lineage()[-1] == newest_revision()
    assert oldest_code() in lineage()


@pytest.mark.parametrize(
    ("scripts", "oldest"),
    [
        ([("3", False), ("2", True), ("1", False)], "3"),
        ([("3", True), ("2", True), ("1", False)], "1"),
        ([("3", True), ("2", False), ("1", False)], "2"),
        ([("1", True)], "1"),
    ],
)
def test_the_oldest_code_is_the_one_before_the_migrations_that_only_expand(
    scripts: list[tuple[str, bool]], oldest: str
) -> None:
    assert oldest_of(scripts) == oldest


@pytest.mark.parametrize(
    ("database", "oldest", "fits"),
    [
        (newest_revision(), newest_revision(), True),
        (lineage()[0], lineage()[0], False),
        (NEWER, newest_revision(), True),
        (NEWER, lineage()[0], True),
        (NEWER, NEWER, False),
    ],
)
def test_a_program_serves_its_own_schema_and_a_newer_one_that_says_it_may(
    database: str, oldest: str, fits: bool
) -> None:
    assert Schema(newest_revision(), database, oldest).fits is fits


def test_the_note_in_the_database_decides_and_its_absence_means_no() -> None:
    assert read_schema({"version_num": NEWER, "note": f"{NOTE}{newest_revision()}"}).fits
    assert not read_schema({"version_num": NEWER, "note": None}).fits
    assert read_schema({"version_num": newest_revision(), "note": None}).oldest == oldest_code()
