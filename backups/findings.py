"""What a look at a repository's place found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from backups.errors import BackupError

NOTE, WARNING, ERROR = "note", "warning", "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. `level`: note, warning or error; only an error keeps the place from being used."""

    level: str
    code: str
    message: str
    remedy: str = ""

    @classmethod
    def of(cls, error: BackupError, level: str = ERROR) -> Finding:
        return cls(level, error.code, error.message, error.remedy)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
