"""Which schema the database has, and whether this program can work with it.

Migrations expand first and contract later: one that says `expands = True` leaves a schema that the code before it still
works with. The oldest code that does is noted in the database itself, so that a program of yesterday, which does not
know the migrations of today, can tell whether it may serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory

FOLDER = Path(__file__).parent / "migrations"
# Read with one round trip; the note is a comment on the table, so that every dump has it.
READ = "SELECT version_num, obj_description('alembic_version'::regclass) AS note FROM alembic_version"
NOTE = "oldest code: "


@dataclass(frozen=True, slots=True)
class Schema:
    """`code`: the revision this program brings a database to; `database`: the one it has; `oldest`: the oldest
    revision whose code still works with it."""

    code: str
    database: str
    oldest: str

    @property
    def is_newer(self) -> bool:
        """Whether a newer program made it."""
        return self.database not in lineage()

    @property
    def fits(self) -> bool:
        """Whether this program can serve with it as it is."""
        return self.database == self.code or (self.is_newer and self.oldest in lineage())


@cache
def _history() -> tuple[tuple[str, bool], ...]:
    """(revision, whether it only expands) of every migration, newest first."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    return tuple((script.revision, bool(getattr(script.module, "expands", False))) for script in scripts)


@cache
def lineage() -> tuple[str, ...]:
    """The revisions that this program knows, oldest first."""
    return tuple(revision for revision, _ in reversed(_history()))


def newest_revision() -> str:
    """The revision that this program's code expects."""
    return lineage()[-1]


def oldest_code() -> str:
    """The oldest revision whose code works with the newest schema."""
    return oldest_of(_history())


def oldest_of(scripts: Sequence[tuple[str, bool]]) -> str:
    """The same for any history: (revision, whether it only expands), newest first."""
    return next((revision for revision, expands in scripts if not expands), scripts[-1][0])


def read_schema(row: dict[str, Any]) -> Schema:
    """What a row of `READ` tells."""
    database, note = str(row["version_num"]), str(row["note"] or "")
    noted = note.removeprefix(NOTE) if note.startswith(NOTE) else ""
    return Schema(newest_revision(), database, noted or (oldest_code() if database == newest_revision() else database))
