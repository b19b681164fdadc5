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


def network(stats: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes that a container has received and sent since its start, over all its networks."""
    told = (stats.get("networks") or {}).values()
    return sum(int(one["rx_bytes"]) for one in told), sum(int(one["tx_bytes"]) for one in told)


def disk(stats: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes that a container has read from and written to disks since its start."""
    told = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    # The two generations of control groups write it differently.
    summed = {"read": 0, "write": 0}
    for entry in told:
        summed[entry["op"].lower()] = summed.get(entry["op"].lower(), 0) + int(entry["value"])
    return summed["read"], summed["write"]


def family_size(root: int, processes: Collection[tuple[int, int]]) -> int:
    """How many processes descend from `root`, itself included. Health checks and visitors are not among them.

    Args:
        processes: (pid, parent's pid) of all that run in the container.
    """
    found = {root} & {pid for pid, _ in processes}
    while fresh := {pid for pid, parent in processes if parent in found} - found:
        found |= fresh
    return len(found)
