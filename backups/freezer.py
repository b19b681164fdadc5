"""The two small processes that touch Chroma's SQLite file during a freeze: `python -m backups.freezer hold|pin ...`.

Why processes: POSIX drops all of a process's locks on a file when it closes *any* descriptor of it, so the holder of
the write lock must never open the file in another way; and a process can end by its own timer and with its parent.

Both read one-word commands from standard input, answer each with one word, and end at the end of standard input.

    hold DATABASE SECONDS    begin -> held | busy     release -> released | expired
    pin DATABASE TARGET      pin -> pinned            copy -> copied
"""

from __future__ import annotations

import os
import select
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from backups.gently import flushed_as_it_grows
from backups.limits import BACKGROUND

BUSY_SECONDS = 2.0


class Holder:
    """Keeps every writer out of a SQLite database, at most `seconds` long; readers pass."""

    def __init__(self, database: Path, seconds: float) -> None:
        self._connection = sqlite3.connect(database, isolation_level=None, timeout=BUSY_SECONDS)
        self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        self._seconds = seconds
        self.deadline: float | None = None

    def begin(self) -> str:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return "busy"
        self.deadline = time.monotonic() + self._seconds
        return "held"

    def release(self) -> str:
        if not self._connection.in_transaction:
            return "expired"
        self._connection.execute("ROLLBACK")
        self.deadline = None
        return "released"


class Pinner:
    """Pins what a database holds now, and copies exactly that later, while others go on writing."""

    def __init__(self, database: Path, target: Path) -> None:
        self._database, self._target = database, target
        self._connection = sqlite3.connect(database, isolation_level=None)
        self._wal = self._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"

    def pin(self) -> str:
        """In WAL mode a read transaction is the pin; otherwise the file itself is copied while the holder holds."""
        if self._wal:
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        else:
            shutil.copyfile(self._database, self._target)
        return "pinned"

    def copy(self) -> str:
        if self._wal:
            os.nice(BACKGROUND)  # it was started for the freeze, in which nothing stands back
            target = sqlite3.connect(self._target)
            with flushed_as_it_grows(self._target):
                self._connection.backup(target)
            target.close()
            self._connection.execute("ROLLBACK")
        return "copied"


def serve(commands: dict[str, Callable[[], str]], deadline: Callable[[], float | None]) -> None:
    """Answer commands until the end of standard input or the deadline, whichever comes first."""
    _answer("ready")
    while True:
        end = deadline()
        waited = None if end is None else max(0.0, end - time.monotonic())
        if not select.select([sys.stdin], [], [], waited)[0]:
            _answer("expired")
            return
        word = sys.stdin.readline().strip()
        if word not in commands:
            return
        _answer(commands[word]())


def _answer(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main(argv: list[str]) -> None:
    role, database = argv[0], Path(argv[1])
    if role == "hold":
        holder = Holder(database, float(argv[2]))
        serve({"begin": holder.begin, "release": holder.release}, lambda: holder.deadline)
    else:
        pinner = Pinner(database, Path(argv[2]))
        serve({"pin": pinner.pin, "copy": pinner.copy}, lambda: None)


if __name__ == "__main__":
    main(sys.argv[1:])
