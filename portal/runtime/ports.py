"""Which ports are taken, and by whom."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from portal.runtime import procfs

LISTEN = "0A"
FIRST_FREE = 20000
OUTGOING = procfs.PROC / "sys" / "net" / "ipv4" / "ip_local_port_range"


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket: its port, the inode that finds its owner, the owner's user id."""

    port: int
    inode: int
    uid: int


def listeners(tables: Iterable[Path] = (procfs.PROC / "net" / "tcp", procfs.PROC / "net" / "tcp6")) -> list[Listener]:
    """Every listening TCP socket of this machine, from the kernel's own tables."""
    found: list[Listener] = []
    for table in tables:
        with contextlib.suppress(OSError):
            rows = table.read_text(encoding="ascii").splitlines()[1:]
            found.extend(_listener(row.split()) for row in rows if row.split()[3] == LISTEN)
    return found


def _listener(fields: list[str]) -> Listener:
    return Listener(port=int(fields[1].rpartition(":")[2], 16), inode=int(fields[9]), uid=int(fields[7]))


def holder_pids(inodes: Collection[int]) -> dict[int, int]:
    """The process behind each socket inode, as far as we may look."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, int] = {}
    for pid in procfs.pids():
        for link in _descriptors(pid):
            if link in wanted:
                found.setdefault(wanted[link], pid)
    return found


def _descriptors(pid: int) -> Iterator[str]:
    folder = procfs.PROC / str(pid) / "fd"
    with contextlib.suppress(OSError):
        for descriptor in folder.iterdir():
            with contextlib.suppress(OSError):
                yield os.fspath(descriptor.readlink())


def holders(ports: Collection[int]) -> dict[int, tuple[int | None, str]]:
    """Who listens on these ports: port -> (pid or None, a few words); ports nobody listens on are left out."""
    taken = [listener for listener in listeners() if listener.port in ports]
    owners = holder_pids([listener.inode for listener in taken]) if taken else {}
    return {listener.port: describe(listener, owners.get(listener.inode)) for listener in taken}


def describe(listener: Listener, pid: int | None) -> tuple[int | None, str]:
    """The pid (None when it cannot be known) and a few words about who listens."""
    if pid is not None:
        return pid, f"{procfs.name(pid)} (pid {pid})"
    try:
        user = pwd.getpwuid(listener.uid).pw_name
    except KeyError:
        user = f"uid {listener.uid}"
    return None, f"a process of user {user}"


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all different.

    Taken from below the range that the kernel gives to outgoing connections: one of those could otherwise sit on the
    port of a service that is stopped for a moment.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(FIRST_FREE, _outgoing_from()), k=_outgoing_from() - FIRST_FREE):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    """Whether this port of the loopback address can be listened on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _outgoing_from() -> int:
    try:
        first = int(OUTGOING.read_text().split()[0])
    except (OSError, ValueError):
        first = 32768
    # A machine that gives nearly everything to outgoing connections leaves no choice.
    return first if first > FIRST_FREE + 1000 else 60000
