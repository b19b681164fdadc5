"""Sealing: the cipher's own published example, and that nothing changed can be opened."""

from __future__ import annotations

import pytest

from portal.core.cipher import SealBroken, decrypt, encrypt

KEY = bytes(range(32))
# Test case 16 of the specification of GCM (McGrew, Viega): with associated data, 256 bits.
EXAMPLE = {
    "key": "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
    "nonce": "cafebabefacedbaddecaf888",
    "about": "feedfacedeadbeeffeedfacedeadbeefabaddad2",
    "text": "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    "sealed": "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
    "tag": "76fc6ece0f4e1768cddf8853bb2d551b",
}


def test_the_cipher_is_the_one_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: bytes.fromhex(text) for name, text in EXAMPLE.items()}
    monkeypatch.setattr("portal.core.cipher.secrets.token_bytes", lambda _: known["nonce"])
    sealed = encrypt(known["key"], known["text"], known["about"])
    assert sealed == known["nonce"] + known["sealed"] + known["tag"]
    assert decrypt(known["key"], sealed, known["about"]) == known["text"]


@pytest.mark.parametrize("text", [b"", b"x", "Grüße €".encode() * 5000])
def test_what_was_sealed_is_opened(text: bytes) -> None:
    assert decrypt(KEY, encrypt(KEY, text, b"release 1"), b"release 1") == text


def test_the_same_is_never_sealed_the_same_way_twice() -> None:
    assert encrypt(KEY, b"text", b"") != encrypt(KEY, b"text", b"")


@pytest.mark.parametrize("place", [0, 14, -1])
def test_one_changed_bit_is_noticed(place: int) -> None:
    sealed = bytearray(encrypt(KEY, b"a longer text", b"release 1"))
    sealed[place] ^= 1
    with pytest.raises(SealBroken):
        decrypt(KEY, bytes(sealed), b"release 1")


def test_another_key_another_purpose_and_nothing_at_all_are_noticed() -> None:
    sealed = encrypt(KEY, b"text", b"release 1")
    with pytest.raises(SealBroken):
        decrypt(bytes(32), sealed, b"release 1")
    with pytest.raises(SealBroken):
        decrypt(KEY, sealed, b"release 2")
    with pytest.raises(SealBroken):
        decrypt(KEY, b"short", b"release 1")
    with pytest.raises(ValueError, match="32"):
        encrypt(b"short", b"text", b"")
