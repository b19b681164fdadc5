"""Shells on terminals of their own: the outer end of a pty, and what is common to them in every runtime."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from backups.process import Attached
from portal.runtime import procfs

# What is run in a terminal has this in its environment, and so has everything that it starts.
MARK = "RAGKEEP_VISIT"
# What programs take the screen in the portal for.
KIND = "xterm-256color"
# bash where there is one; every image has sh.
SHELL = ("sh", "-c", "command -v bash >/dev/null && exec bash || exec sh")
CHUNK = 64 * 1024
# A process closes its terminal a moment before it has a status.
PARTING_SECONDS = 1.0
# One that waits for a disk takes its end later; nobody waits for that here.
ROUNDS, ROUND_SECONDS = 100, 0.02


class PtyTerminal:
    """A command on a pty; see portal.runtime.protocol.Terminal."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | None,
        rows: int,
        columns: int,
        clear: Callable[[], None],
    ) -> None:
        """Start it.

        Args:
            clear: ends what is left when the command itself is gone.

        Raises:
            ProcessError: it could not be started.
        """
        self._clear = clear
        self._lock = threading.Lock()
        self._ours, theirs = os.openpty()
        try:
            self.resize(rows, columns)
            os.set_blocking(self._ours, False)
            self._process = Attached(argv, terminal=theirs, env=env, cwd=cwd)
        except BaseException:
            os.close(self._ours)
            raise
        finally:
            os.close(theirs)

    def read(self, seconds: float) -> bytes | None:
        if not select.select([self._ours], [], [], seconds)[0]:
            # A program in the background may hold the terminal open when the shell has long ended.
            return None if self._process.ended() is None else b""
        try:
            return os.read(self._ours, CHUNK)
        except BlockingIOError:
            return None
        except OSError:  # EIO: nobody has the inner end any more
            self._process.ended(seconds=PARTING_SECONDS)
            return b""

    def write(self, data: bytes) -> int:
        with self._lock, contextlib.suppress(OSError):
            return os.write(self._ours, data) if self._ours >= 0 else 0
        return 0

    def resize(self, rows: int, columns: int) -> None:
        with self._lock:
            if self._ours >= 0:
                fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> int | None:
        ended = self._process.ended()
        with self._lock:
            if self._ours >= 0:
                os.close(self._ours)
                self._ours = -1
        self._process.kill_group()
        self._clear()
        return ended


def end_marked(mark: str) -> None:
    """Kill every process of this machine that has the mark in its environment, and what these start meanwhile."""
    for _ in range(ROUNDS):
        found = [pid for pid in procfs.table() if procfs.environment(pid).get(MARK) == mark]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return
        time.sleep(ROUND_SECONDS)
