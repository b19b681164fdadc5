"""The network between a program and a server: a line that can be cut in its middle, and mended."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import servers

# Closing sends a reset instead of what has not been sent yet.
_RESET = struct.pack("ii", 1, 0)


class Wire:
    """Passes on everything between `port` of this machine and a server's port. `cuts` counts the cuts so far."""

    def __init__(self, server_port: int) -> None:
        self.port = servers.free_port()
        self.cuts = 0
        self._server_port = server_port
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._left: int | None = None
        self._cut = (0.0, False)
        self._listener = self._listen()

    def cut_after(self, size: int, *, seconds: float = 0, silent: bool = False) -> None:
        """Cut the line once `size` bytes more have passed; it is mended after so many seconds.

        Args:
            silent: nothing arrives and nobody is told, as behind a router that has lost its way; otherwise connections
                end and new ones are refused.
        """
        with self._lock:
            self._cut, self._left = (seconds, silent), size

    def answers(self) -> bool:
        """Whether somebody who knocks is let in."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._flows.set()
        self._break_off()
        self._listener.close()

    def _listen(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port))
        except OSError:
            client.close()
            return
        with self._lock:
            self._ends |= {client, server}
        for ends in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._count(len(data))
                self._flows.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
            return
        self._end(source, sink)

    def _count(self, size: int) -> None:
        with self._lock:
            if self._left is None:
                return
            self._left -= size
            if self._left > 0:
                return
            self._left, self.cuts = None, self.cuts + 1
            seconds, silent = self._cut
        threading.Thread(target=self._fall_silent if silent else self._refuse, args=(seconds,), daemon=True).start()

    def _fall_silent(self, seconds: float) -> None:
        self._flows.clear()
        threading.Event().wait(seconds)
        self._flows.set()

    def _refuse(self, seconds: float) -> None:
        if not seconds:
            self._break_off()
            return
        # Whoever waits in accept() keeps the port taken until it is told.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break_off()
        threading.Event().wait(seconds)
        self._listener = self._listen()

    def _break_off(self) -> None:
        with self._lock:
            ends = list(self._ends)
        self._end(*ends)

    def _end(self, *ends: socket.socket) -> None:
        with self._lock:
            self._ends -= set(ends)
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def wire(server_port: int) -> Iterator[Wire]:
    """A line to a server on this machine."""
    line = Wire(server_port)
    try:
        yield line
    finally:
        line.close()
