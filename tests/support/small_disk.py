"""A disk of a few megabytes: a tmpfs that only the programs started through it see. Needs no privileges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backups import process


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """`prefix` before a command line makes that command see the disk at `path`."""

    path: Path
    prefix: tuple[str, ...]

    def run(self, *words: str) -> process.Completed:
        """Run a program that sees the disk."""
        return process.run((*self.prefix, *words))


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a disk at `path`, which is made; what is written there is gone at the end."""
    path.mkdir(parents=True, exist_ok=True)
    mount = f"mount -t tmpfs -o size={megabytes}m tmpfs {path} && echo mounted && cat"
    with process.Running(("unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", mount)) as keeper:
        said = next(keeper.lines(), "")
        assert said == "mounted", f"this machine gives no user namespace with mounts: {keeper.stderr}"
        target = str(keeper.pid)
        yield SmallDisk(path, ("nsenter", "--preserve-credentials", "--user", "--mount", "--target", target, "--"))
