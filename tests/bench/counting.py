"""Programs that note every start of another: what it was asked, when it began and ended."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The first of these words on a command line is restic's command.
COMMANDS = ("version", "init", "cat", "snapshots", "backup", "ls", "dump", "restore", "tag", "list", "unlock", "find")

_SCRIPT = """#!/bin/sh
began=$(date +%s%N)
{program} "$@"
status=$?
echo "$began $(date +%s%N) $*" >> {log}
exit $status
"""


@dataclass(frozen=True, slots=True)
class Start:
    """One start. Times in seconds since the epoch."""

    words: tuple[str, ...]
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def command(self) -> str:
        """restic's command, empty for another program."""
        return next((word for word in self.words if word in COMMANDS), "")


@dataclass(frozen=True, slots=True)
class Counted:
    """A program that stands in for another one, and its notes."""

    path: Path
    log: Path

    @classmethod
    def wrap(cls, program: Path, folder: Path) -> Counted:
        """Make the stand-in, under the program's own name, in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder / program.name, folder / f"{program.name}.log")
        made.path.write_text(_SCRIPT.format(program=shlex.quote(str(program)), log=shlex.quote(str(made.log))))
        made.path.chmod(0o755)
        return made

    def taken(self) -> list[Start]:
        """The starts since the last call, oldest first."""
        found = list(self._read())
        self.log.unlink(missing_ok=True)
        return found

    def _read(self) -> Iterator[Start]:
        for line in self.log.read_text().splitlines() if self.log.exists() else ():
            began, ended, *words = line.split(" ")
            yield Start(tuple(words), int(began) / 1e9, int(ended) / 1e9)


def pg_programs(pg_bin: Path, folder: Path) -> Counted:
    """A folder with all programs of `pg_bin`, in which pg_restore notes its starts."""
    folder.mkdir(parents=True)
    for program in pg_bin.iterdir():
        if program.name != "pg_restore":
            (folder / program.name).symlink_to(program)
    return Counted.wrap(pg_bin / "pg_restore", folder)
