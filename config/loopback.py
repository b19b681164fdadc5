"""Run a program in a network namespace of its own, which has nothing but loopback: `python -m config.loopback WORDS`.

Tests in a browser run like that while others start containers: Chromium gives up what it loads whenever an interface of
the machine comes or goes. For root alone, who may make one without a user namespace.

Standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys

_CLONE_NEWNET = 0x40000000  # sched.h; os.unshare came with Python 3.12
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_INTERFACE = struct.Struct("16sh14x")  # struct ifreq of net/if.h, with its flags


def isolate() -> None:
    """Leave the machine's network for one with an address of its own, 127.0.0.1.

    Raises:
        OSError: the kernel does not let us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _INTERFACE.pack(b"lo", _IFF_UP))


def command(words: list[str]) -> list[str]:
    """The words that run a program like that."""
    return [sys.executable, "-m", "config.loopback", *words]


if __name__ == "__main__":
    isolate()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the words are our own caller's
