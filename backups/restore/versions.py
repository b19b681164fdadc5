"""Whether a set may be restored here: never into an older Postgres or Chroma than the one that wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backups.restore.errors import SetTooNew


def require_not_older(made_by: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Compare the versions in set.json with those of the target.

    Args:
        made_by: `postgres_major` and `chroma` of the set.
        here: the same of the target; a version that is not known here is not compared.

    Raises:
        SetTooNew: naming every program that is older here.
    """
    older = [
        f"{title} {here[name]} (the set needs {made_by[name]} or later)"
        for name, title in (("postgres_major", "Postgres"), ("chroma", "Chroma"))
        if made_by.get(name) and here.get(name) and _numbers(here[name]) < _numbers(made_by[name])
    ]
    if older:
        raise SetTooNew(f"older here than in the set: {', '.join(older)}", made_by=dict(made_by), here=dict(here))


def _numbers(version: object) -> tuple[int, ...]:
    """`18.1` -> (18, 1); what follows the digits of a part (`1.6.0b2`) does not count."""
    return tuple(int(match.group()) for part in str(version).split(".") if (match := re.match(r"\d+", part)))
