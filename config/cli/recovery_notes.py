"""What an interrupted recovery leaves behind for its next attempt."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

from backups.restore.exchange import write_durably
from config.cli.output import UserError
from portal.runtime.paths import RuntimePaths

NOTES = "notes.json"


@dataclass
class Notes:
    """What an interrupted recovery has to know. `began`: seconds since the epoch; `done`: names of finished steps."""

    repository: str
    set_id: str
    operation: str = field(default_factory=lambda: str(uuid.uuid4()))
    began: float = field(default_factory=time.time)
    done: list[str] = field(default_factory=list)


def recovery_folder(paths: RuntimePaths) -> Path:
    """Where an unfinished recovery keeps its notes; it exists only while there is one."""
    return paths.var / "recovery"


def demand_finished(paths: RuntimePaths) -> None:
    """Refuse what would start a half recovered installation.

    Raises:
        UserError: a recovery was begun here and has not ended.
    """
    if (recovery_folder(paths) / NOTES).exists():
        raise UserError(
            "a recovery was begun here and is not finished",
            "give the same manage.py recover command again, or start over with manage.py clean",
            "recovery_unfinished",
        )


def write_notes(folder: Path, notes: Notes) -> None:
    """Keep the notes, durably."""
    write_durably(folder / NOTES, json.dumps(asdict(notes)))


def read_notes(folder: Path) -> Notes | None:
    """The notes; None while no recovery is unfinished.

    Raises:
        UserError: they cannot be read.
    """
    try:
        return Notes(**json.loads((folder / NOTES).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / NOTES} cannot be read: {error}", "start over with manage.py clean") from None
