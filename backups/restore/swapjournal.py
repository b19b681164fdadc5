"""The journal of a swap: what will change places, written into every volume before the first move.

With it any later attempt, or a person, can tell new from old and finish or undo: the portal is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backups.restore.database import Databases
from backups.restore.errors import SwapConflict
from backups.restore.exchange import sync_folder, write_durably
from backups.restore.folders import Pair

FORMAT = 1


@dataclass(frozen=True, slots=True)
class SwapJournal:
    """Attributes:
    operation: the restore that owns the staged data.
    set_id: the backup set that the staged data comes from.
    volumes: volume name -> the two folders, by inode number.
    database: the two databases, by oid; None when the restore leaves the database alone.
    """

    operation: str
    set_id: str
    volumes: Mapping[str, Pair]
    database: Databases | None

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> SwapJournal:
        """Raises SwapConflict when it is not such a journal."""
        try:
            data: dict[str, Any] = json.loads(text)
            if data["format"] != FORMAT:
                raise SwapConflict(f"the swap journal has format {data['format']}, this program writes {FORMAT}")
            database = data["database"]
            return cls(
                operation=str(data["operation"]),
                set_id=str(data["set_id"]),
                volumes={name: Pair(**pair) for name, pair in data["volumes"].items()},
                database=None if database is None else Databases(**database),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise SwapConflict(f"the swap journal cannot be read ({error})") from None


def path_in(volume: Path, operation: str) -> Path:
    return volume / f"swap-{operation}.json"


def read(volumes: Iterable[Path], operation: str) -> SwapJournal | None:
    """The journal of an operation from the first volume that has it; None when no swap was begun."""
    for volume in volumes:
        path = path_in(volume, operation)
        if path.exists():
            return SwapJournal.from_json(path.read_text(encoding="utf-8"))
    return None


def write(volumes: Iterable[Path], journal: SwapJournal) -> None:
    """Put the journal into every volume, on disk before this returns."""
    for volume in volumes:
        write_durably(path_in(volume, journal.operation), journal.to_json())


def remove(volumes: Iterable[Path], operation: str) -> None:
    for volume in volumes:
        path_in(volume, operation).unlink(missing_ok=True)
        if volume.exists():
            sync_folder(volume)
