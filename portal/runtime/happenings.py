"""What happened to supervised processes, read from supervisord's own log: which of them ended by themselves."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from portal.runtime.protocol import Happened, Happening

_LINE = re.compile(
    r"^(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \w+ "
    r"(?:spawned: '(?P<begun>[^']+)' with pid (?P<pid>\d+)|exited: (?P<ended>\S+) \((?P<how>.*)\))"
)


class _Entry(NamedTuple):
    at: float
    name: str
    pid: int
    how: str


def happenings(
    log: Sequence[str], running: Mapping[str, bool], starts: Mapping[str, Collection[int]], *, since: float
) -> tuple[Happening, ...]:
    """The ends since then of the processes of one group, in the order of time.

    The log names a program without its group, so an end counts as this group's when what was started next under that
    name is one of this group's processes, or when nothing was and this group's does not run.

    Args:
        running: the group's programs by name, and whether they run.
        starts: the pids they had lately.
        since: Unix time.
    """
    entries = [entry for entry in map(_read, log) if entry is not None]
    found = [
        end for name, is_up in running.items() for end in _ends(entries, name, is_up=is_up, pids=starts.get(name, ()))
    ]
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


def _ends(entries: Sequence[_Entry], name: str, *, is_up: bool, pids: Collection[int]) -> list[_Entry]:
    """Backwards: whose end it was shows in what followed it."""
    ours, follower = list[_Entry](), 0
    for entry in reversed([entry for entry in entries if entry.name == name]):
        if entry.pid:
            follower = entry.pid
        elif follower in pids or (not follower and not is_up):
            ours.append(entry)
    return ours
