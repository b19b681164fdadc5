"""Another machine, as far as containers can tell: a network of its own beside the host, with a web server in it.

Without the internet: what may leave a container's network reaches it, what may not does not.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backups import process
from tests.support.servers import wait_until

# Out of the range that is kept for documentation.
HERE, THERE, PORT = "198.51.100.1", "198.51.100.2", 8099


def missing() -> str | None:
    """Why it cannot be made here; None when it can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "only root can make a network beside the host, with ip of iproute2"
    return None


@contextmanager
def outside(empty: Path) -> Iterator[tuple[str, int]]:
    """Make it; yields its address and port. The server shows the folder `empty`."""
    name = f"out{os.getpid()}"
    link, far = f"v{os.getpid()}", f"w{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    process.run(["ip", "netns", "add", name])
    try:
        process.run(["ip", "link", "add", link, "type", "veth", "peer", "name", far, "netns", name])
        process.run(["ip", "addr", "add", f"{HERE}/30", "dev", link])
        process.run(["ip", "link", "set", link, "up"])
        process.run([*inside, "ip", "addr", "add", f"{THERE}/30", "dev", far])
        process.run([*inside, "ip", "link", "set", far, "up"])
        serve = [sys.executable, "-m", "http.server", "--bind", THERE, "--directory", str(empty), str(PORT)]
        with process.Running([*inside, *serve]) as server:
            server.discard_output()
            wait_until(_answers, what="the server outside", seconds=10)
            yield THERE, PORT
    finally:
        with suppress(process.ProcessError):
            process.run(["ip", "link", "del", link])
        process.run(["ip", "netns", "del", name])


def _answers() -> bool:
    with suppress(OSError), socket.create_connection((THERE, PORT), timeout=1):
        return True
    return False
