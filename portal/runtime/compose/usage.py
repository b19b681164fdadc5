"""What containers use of this host, from what the engine tells. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

NANOSECONDS = 1_000_000_000


def memory_bytes(stats: Mapping[str, Any]) -> int:
    """The memory of a container, each shared page once, without files that the kernel could forget at any time."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    # The two generations of control groups call it differently.
    forgettable = details.get("total_inactive_file", details.get("inactive_file", 0))
    return max(0, int(memory.get("usage", 0)) - int(forgettable))


def cpu_seconds(stats: Mapping[str, Any]) -> float:
    """Processor time of a container since its start."""
    usage = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    return float(usage.get("total_usage", 0)) / NANOSECONDS


def family_size(root: int, processes: Collection[tuple[int, int]]) -> int:
    """How many processes descend from `root`, itself included. Health checks and visitors are not among them.

    Args:
        processes: (pid, parent's pid) of all that run in the container.
    """
    found = {root} & {pid for pid, _ in processes}
    while fresh := {pid for pid, parent in processes if parent in found} - found:
        found |= fresh
    return len(found)
