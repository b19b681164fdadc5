"""What happened to supervised processes, read from supervisord's own log: which of them ended by themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from portal.runtime.protocol import Happened, Happening
from portal.runtime.supervisor import Process

_LINE = re.compile(
    r"^(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \w+ "
    r"(?:spawned: '(?P<begun>[^']+)' with pid (?P<pid>\d+)|exited: (?P<ended>\S+) \((?P<how>.*)\))"
)
# Ends of one process that keeps ending lie closer together than this.
CHAIN_SECONDS = 60.0


class _Entry(NamedTuple):
    at: float
    name: str
    pid: int
    how: str


def happenings(log: Sequence[str], known: Mapping[str, Process], *, since: float) -> tuple[Happening, ...]:
    """The ends since then of the processes of one group, in the order of time.

    The log names a program without its group, so an end counts as this group's when what was started next under that
    name is this group's process now, when that does not run, or when another end of it followed shortly.

    Args:
        known: the group's processes by name.
        since: Unix time.
    """
    entries = [entry for entry in map(_read, log) if entry is not None]
    found = [end for name, process in known.items() for end in _ends(entries, name, process)]
    told = [Happening(end.name, end.at, Happened.ENDED, end.how) for end in found if end.at > since]
    return tuple(sorted(told, key=lambda item: item.at))


def _read(line: str) -> _Entry | None:
    found = _LINE.match(line)
    if found is None:
        return None
    # supervisord writes this machine's time.
    at = datetime.strptime(found["at"], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    if found["begun"]:
        return _Entry(at, found["begun"], int(found["pid"]), "")
    return _Entry(at, found["ended"], 0, found["how"].partition(";")[0])


def _ends(entries: Sequence[_Entry], name: str, process: Process) -> list[_Entry]:
    """Backwards: which process an end belongs to shows in what followed it."""
    ours, next_pid, last = list[_Entry](), 0, 0.0
    for entry in reversed([entry for entry in entries if entry.name == name]):
        if entry.pid:
            next_pid = entry.pid
        elif next_pid == process.pid or not process.pid or (last - entry.at < CHAIN_SECONDS and ours):
            ours.append(entry)
            last = entry.at
    return ours
