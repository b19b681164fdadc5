"""Processes of this machine, read from /proc.

What belongs to another user is left out silently: what we may not read we may not stop either.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Entry:
    """One process: `started` is in clock ticks since boot and tells a reused pid from the old one; `cpu_seconds` are
    its own and those of its children that have ended."""

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
    cpu = sum(map(int, fields[11:15])) / TICKS
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


def memory(pids: Collection[int]) -> int:
    """Bytes of memory of related processes, pages that they share counted once; those that are gone count 0.

    The kernel tells each process's share only to whoever could trace it. For the others their own pages are added up
    and the shared ones taken from the process that has most: a database's workers all have the same buffers.
    """
    divided = [_kilobytes(PROC / str(pid) / "smaps_rollup", ["Pss:"])["Pss:"] for pid in pids]
    hidden = [pid for pid, share in zip(pids, divided, strict=True) if not share]
    resident = [_kilobytes(PROC / str(pid) / "status", ["RssAnon:", "RssFile:", "RssShmem:"]) for pid in hidden]
    shared = [max((entry[kind] for entry in resident), default=0) for kind in ("RssFile:", "RssShmem:")]
    return sum(divided) + sum(entry["RssAnon:"] for entry in resident) + sum(shared)


def _kilobytes(path: Path, fields: Collection[str]) -> dict[str, int]:
    """These fields of a file of `Name:  123 kB` lines, in bytes; 0 for what is not to be had."""
    found = dict.fromkeys(fields, 0)
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, *value = line.split()
            if name in found:
                found[name] = int(value[0]) * 1024
    return found


def disk(pids: Collection[int]) -> tuple[int, int] | None:
    """Bytes that processes have read from and written to disks; None when we may look into none of them."""
    told = [found for pid in pids if (found := _transferred(pid)) is not None]
    return (sum(read for read, _ in told), sum(written for _, written in told)) if told else None


def _transferred(pid: int) -> tuple[int, int] | None:
    try:
        text = (PROC / str(pid) / "io").read_text(encoding="ascii")
    except OSError:
        return None
    found = dict(line.split(": ") for line in text.splitlines())
    return int(found["read_bytes"]), int(found["write_bytes"])


def memory_kills() -> int:
    """How many processes the kernel of this machine has killed for want of memory since it started."""
    with contextlib.suppress(OSError):
        for line in (PROC / "vmstat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
