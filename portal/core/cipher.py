"""AES-256-GCM as the `cryptography` package has it: maintained, wheels for every platform, OpenSSL's own code below.

What is sealed is a nonce of 12 bytes, the text, and a tag of 16 that tells whether anything of it was changed.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16


class SealBroken(ValueError):  # noqa: N818 - says what is wrong
    """It was sealed with another key or for another purpose, or it was changed."""


def encrypt(key: bytes, text: bytes, about: bytes) -> bytes:
    """Seal a text.

    Args:
        key: 32 bytes.
        about: what it is; whoever opens it has to say the same.

    Raises:
        ValueError: the key is not 32 bytes.
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _of(key).encrypt(nonce, text, about)


def decrypt(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """Open what `encrypt` sealed.

    Raises:
        SealBroken: with this key, and as being about this, it cannot be opened.
        ValueError: the key is not 32 bytes.
    """
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        raise SealBroken("too short to have been sealed")
    try:
        return _of(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
    except InvalidTag:
        raise SealBroken("it cannot be opened with this key") from None


def _of(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key has {len(key)} bytes instead of {KEY_BYTES}")
    return AESGCM(key)
