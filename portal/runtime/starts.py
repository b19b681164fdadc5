"""Which processes a service has been, lately: supervisord's log names programs without their group."""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".starts"
KEPT = 50


def note(run: Path, service: str, pid: int) -> None:
    """Remember that the service became this process."""
    target = run / f"{service}{SUFFIX}"
    fresh = target.with_suffix(f"{SUFFIX}.new")
    fresh.write_text("".join(f"{one}\n" for one in [*_read(target), pid][-KEPT:]), encoding="ascii")
    fresh.replace(target)


def known(run: Path, service: str) -> frozenset[int]:
    """The pids of its last starts, the present one included."""
    return frozenset(_read(run / f"{service}{SUFFIX}"))


def _read(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []
