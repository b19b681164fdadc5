"""A shell in a container, on a terminal of its own: `docker exec` on a pty of ours, whose size it passes on."""

from __future__ import annotations

from contextlib import suppress

from portal.runtime.compose import argv
from portal.runtime.compose.client import Docker
from portal.runtime.errors import ComposeFailedError
from portal.runtime.terminals import KIND, SHELL, PtyTerminal

CLEAR_SECONDS = 20.0


def opened(docker: Docker, container: str, *, mark: str, rows: int, columns: int) -> PtyTerminal:
    """Start a shell in a container that runs. What it starts goes with it: Docker itself would leave it there when the
    one who reads goes away."""
    return PtyTerminal(
        argv.attach(container, SHELL, mark=mark, kind=KIND),
        env=docker.environment({"TERM": KIND}),
        cwd="/",
        rows=rows,
        columns=columns,
        clear=lambda: ended(docker, container, mark),
    )


def ended(docker: Docker, container: str, mark: str) -> None:
    """End what has the mark; a container that is gone has taken it along."""
    with suppress(ComposeFailedError):
        docker.run(argv.end_marked(container, mark), check=False, timeout=CLEAR_SECONDS)
