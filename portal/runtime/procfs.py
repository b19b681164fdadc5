"""Processes of this machine, read from /proc.

What belongs to another user is left out silently: what we may not read we may not stop either.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Entry:
    """One process: `started` is in clock ticks since boot and tells a reused pid from the old one."""

    pid: int
    parent: int
    started: int
    cpu_seconds: float
    state: str


def entry(pid: int) -> Entry | None:
    """The process of that pid; None when there is none or it is a zombie (its work is over)."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    cpu = (int(fields[11]) + int(fields[12])) / TICKS
    return Entry(pid=pid, parent=int(fields[1]), started=int(fields[19]), cpu_seconds=cpu, state=fields[0])


def pids() -> Iterator[int]:
    """Every pid of the machine."""
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            yield int(folder.name)


def table() -> dict[int, Entry]:
    """Every process of the machine by pid."""
    found = (entry(pid) for pid in pids())
    return {item.pid: item for item in found if item is not None}


def family(root: int, processes: dict[int, Entry]) -> list[int]:
    """`root` and all its descendants, parents first; empty when it is gone."""
    if root not in processes:
        return []
    children: dict[int, list[int]] = {}
    for item in processes.values():
        children.setdefault(item.parent, []).append(item.pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def ancestors(pid: int, processes: dict[int, Entry]) -> set[int]:
    """`pid` and the processes it descends from."""
    found: set[int] = set()
    while pid in processes and pid not in found:
        found.add(pid)
        pid = processes[pid].parent
    return found


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when we may not read it."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in raw.split(b"\0") if b"=" in item)
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}


def name(pid: int) -> str:
    """The short name of a process, at most 15 characters; empty when it is gone."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    return ""


def memory(pid: int) -> int:
    """Bytes of memory of one process, shared pages divided among their users; 0 when it is gone.

    Where the kernel does not tell us that share, the resident set is taken, which counts them in full.
    """
    return _kilobytes(PROC / str(pid) / "smaps_rollup", "Pss:") or _kilobytes(PROC / str(pid) / "status", "VmRSS:")


def _kilobytes(path: Path, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def boot_time() -> float:
    """Unix time of the machine's start, in seconds."""
    for line in (PROC / "stat").read_text(encoding="utf-8").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
