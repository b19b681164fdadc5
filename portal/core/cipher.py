"""AES-256-GCM, done by the OpenSSL that Python itself is linked to: no package has to be installed for it.

What is sealed is a nonce of 12 bytes, the text, and a tag of 16 that tells whether anything of it was changed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16
# OpenSSL's numbers for reading and for setting the tag.
GET_TAG, SET_TAG = 0x10, 0x11
DECRYPT, ENCRYPT = 0, 1
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "EVP_CIPHER_CTX_new": (ctypes.c_void_p, []),
    "EVP_CIPHER_CTX_free": (None, [ctypes.c_void_p]),
    "EVP_aes_256_gcm": (ctypes.c_void_p, []),
    "EVP_CipherInit_ex": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int],
    ),
    "EVP_CipherUpdate": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_int],
    ),
    "EVP_CipherFinal_ex": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int)]),
    "EVP_CIPHER_CTX_ctrl": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_char_p]),
}


class CipherMissing(RuntimeError):  # noqa: N818 - says what is wrong
    """This Python has no OpenSSL that can be reached."""


class SealBroken(ValueError):  # noqa: N818 - says what is wrong
    """It was sealed with another key or for another purpose, or it was changed."""


def encrypt(key: bytes, text: bytes, about: bytes) -> bytes:
    """Seal a text.

    Args:
        key: 32 bytes.
        about: what it is; whoever opens it has to say the same.

    Raises:
        CipherMissing
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    with _context(key, nonce, about, ENCRYPT) as (lib, context):
        sealed = _update(lib, context, text)
        _finish(lib, context)
        tag = ctypes.create_string_buffer(TAG_BYTES)
        _demand(lib.EVP_CIPHER_CTX_ctrl(context, GET_TAG, TAG_BYTES, tag))
    return nonce + sealed + tag.raw


def decrypt(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """Open what `encrypt` sealed.

    Raises:
        SealBroken: with this key, and as being about this, it cannot be opened.
        CipherMissing
    """
    nonce, text, tag = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:-TAG_BYTES], sealed[-TAG_BYTES:]
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise SealBroken("too short to have been sealed")
    with _context(key, nonce, about, DECRYPT) as (lib, context):
        opened = _update(lib, context, text)
        _demand(lib.EVP_CIPHER_CTX_ctrl(context, SET_TAG, TAG_BYTES, tag))
        _finish(lib, context)
    return opened


@contextmanager
def _context(key: bytes, nonce: bytes, about: bytes, direction: int) -> Iterator[tuple[Any, Any]]:
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key has {len(key)} bytes instead of {KEY_BYTES}")
    lib = _library()
    context = lib.EVP_CIPHER_CTX_new()
    try:
        _demand(lib.EVP_CipherInit_ex(context, lib.EVP_aes_256_gcm(), None, key, nonce, direction))
        _demand(lib.EVP_CipherUpdate(context, None, ctypes.byref(ctypes.c_int()), about, len(about)))
        yield lib, context
    finally:
        lib.EVP_CIPHER_CTX_free(context)


def _update(lib: Any, context: Any, text: bytes) -> bytes:  # noqa: ANN401 - ctypes knows no better
    made, length = ctypes.create_string_buffer(len(text) + 1), ctypes.c_int()
    _demand(lib.EVP_CipherUpdate(context, made, ctypes.byref(length), text, len(text)))
    return made.raw[: length.value]


def _finish(lib: Any, context: Any) -> None:  # noqa: ANN401 - ctypes knows no better
    rest = ctypes.create_string_buffer(TAG_BYTES)
    _demand(lib.EVP_CipherFinal_ex(context, rest, ctypes.byref(ctypes.c_int())))


def _demand(answer: int) -> None:
    if answer != 1:
        raise SealBroken("it cannot be opened with this key")


@cache
def _library() -> Any:  # noqa: ANN401 - ctypes knows no better
    """OpenSSL, wherever this Python has it.

    Raises:
        CipherMissing
    """
    # A handle on the module of hashes also finds what that is linked to.
    own = getattr(importlib.import_module("_hashlib"), "__file__", None)
    for place in (own, ctypes.util.find_library("crypto")):
        if place:
            lib = ctypes.CDLL(place)
            if all(hasattr(lib, name) for name in FUNCTIONS):
                return _declared(lib)
    raise CipherMissing("this Python has no OpenSSL that can be reached: install the distribution's own python3")


def _declared(lib: ctypes.CDLL) -> ctypes.CDLL:
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
