"""The C library's allocator: native libraries with many threads let it keep hundreds of megabytes that nobody uses."""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8


def limit_arenas(count: int = 2) -> None:
    """Let at most `count` pools of memory be made, instead of eight for every core; to be called before threads."""
    if (mallopt := _function("mallopt")) is not None:
        mallopt(_M_ARENA_MAX, count)


def give_back_memory() -> None:
    """Return freed pages to the system; glibc keeps them otherwise, 150 MB after a batch of embeddings."""
    if (trim := _function("malloc_trim")) is not None:
        trim(0)


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    # glibc alone has them; elsewhere memory is returned without being told.
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
