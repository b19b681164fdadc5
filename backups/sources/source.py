"""What a further source of a stack is to a backup: one Protocol, called in the order of its methods.

    check      before anything is written
    prepare    ahead of the freeze: what is large, and every connection
    freeze     inside the freeze: milliseconds, nothing that waits for another machine
    dump       after the thaw
    verify     proves what was staged, by reading all of it
    close      always, also after a failure

A source writes into the folder it is given and nowhere else; every file it leaves there is listed in set.json with its
checksum, lies in the set at `/set/extra/<name>/...` and is compared after the commit. A folder that is too large to be
copied is named as `live` instead: restic reads it where it is, and what it cannot read makes the set partial.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Part:
    """What a source adds to a set.

    Attributes:
        taken_at: the moment its data is of.
        in_freeze: whether that is the moment of the set.
        origin: where it came from, for people; never a secret.
        details: figures of its own, e.g. rows per table; stand beside files and bytes in set.json.
        missing: one line for each thing that should be in the set and is not.
        live: folder that restic reads in place, with the number of its `live_files` and `live_bytes`.
    """

    taken_at: datetime
    in_freeze: bool
    origin: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    live: Path | None = None
    live_files: int = 0
    live_bytes: int = 0


class Source(Protocol):
    """A further source. Every method raises a SourceError (see backups.errors) when the source is not as it must be."""

    def check(self) -> int:
        """Prove that the source is there and whole; returns the bytes of staging it needs."""

    def prepare(self, folder: Path) -> None:
        """Open what `freeze` needs and copy ahead what is large."""

    def freeze(self) -> None:
        """Pin the source's own moment. Called again when a freeze did not succeed."""

    def dump(self, folder: Path) -> None:
        """Read the pinned moment into `folder`."""

    def verify(self, folder: Path) -> Part:
        """Prove that `folder` holds all of it.

        Raises:
            StagingInvalid: it does not.
        """

    def close(self) -> None:
        """Let go of everything; called once, also when an earlier method failed or was never called."""
