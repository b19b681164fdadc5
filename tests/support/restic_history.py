"""Snapshots with any times in a real restic repository, hundreds in a moment.

Each start of `restic backup` derives a key, which takes half a second: so the snapshot files are written here,
encrypted with the repository's own master key as restic's design document says (AES-256-CTR, Poly1305-AES). restic
reads them as its own. They hold no data.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backups.process import run

PASSWORD = "only-for-tests"
CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
PRIME = (1 << 130) - 5


@dataclass(frozen=True, slots=True)
class History:
    """A repository that holds nothing but snapshots with chosen times; `zone` is the one restic reckons in."""

    restic: Path
    folder: Path
    zone: str

    @classmethod
    def make(cls, restic: Path, folder: Path, zone: str) -> History:
        """Initialise the repository."""
        folder.mkdir(parents=True)
        (folder / "password").write_text(PASSWORD)
        made = cls(restic, folder, zone)
        made.call("init")
        return made

    def add(self, times: Sequence[datetime]) -> list[str]:
        """Write a snapshot for each aware time; returns their ids in the same order."""
        key = json.loads(self.call("cat", "masterkey"))
        cipher, mac = Aes(base64.b64decode(key["encrypt"])), key["mac"]
        seal = Seal(cipher, Aes(base64.b64decode(mac["k"])), base64.b64decode(mac["r"]))
        return [self._write(seal, at) for at in times]

    def forget(self, *options: str) -> dict[str, Any]:
        """What `restic forget --dry-run` would do to all of them: `keep`, `remove`, `reasons`."""
        (group,) = json.loads(self.call("forget", "--dry-run", "--group-by", "", *options))
        found: dict[str, Any] = group
        return found

    def call(self, *words: str) -> str:
        env = {
            "RESTIC_REPOSITORY": str(self.folder / "repo"),
            "RESTIC_PASSWORD_FILE": str(self.folder / "password"),
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
            "TZ": self.zone,
            "PATH": os.environ["PATH"],
        }
        return run([str(self.restic), "--json", "--no-lock", *words], env=env, timeout=120).stdout

    def _write(self, seal: Seal, at: datetime) -> str:
        value = {"time": at.isoformat(), "tree": "0" * 64, "paths": ["/data"], "hostname": "rag", "username": "test"}
        sealed = seal.sealed(json.dumps(value).encode())
        name = hashlib.sha256(sealed).hexdigest()
        (self.folder / "repo" / "snapshots" / name).write_bytes(sealed)
        return name


@dataclass(frozen=True, slots=True)
class Seal:
    """restic's encryption of one file: nonce, text, tag."""

    cipher: Aes
    mac: Aes
    r: bytes

    def sealed(self, text: bytes) -> bytes:
        nonce = os.urandom(16)
        stream = b"".join(
            self.cipher.block(((int.from_bytes(nonce) + n) % (1 << 128)).to_bytes(16))
            for n in range(len(text) // 16 + 1)
        )
        hidden = bytes(a ^ b for a, b in zip(text, stream, strict=False))
        return nonce + hidden + self._tag(hidden, nonce)

    def _tag(self, hidden: bytes, nonce: bytes) -> bytes:
        r, total = int.from_bytes(self.r, "little") & CLAMP, 0
        for at in range(0, len(hidden), 16):
            total = (total + int.from_bytes(hidden[at : at + 16] + b"\1", "little")) * r % PRIME
        return ((total + int.from_bytes(self.mac.block(nonce), "little")) % (1 << 128)).to_bytes(16, "little")


def _double(value: int) -> int:
    return ((value << 1) ^ 0x1B) & 0xFF if value & 0x80 else value << 1


def _s_box() -> bytes:
    """By its definition: the inverse in GF(2^8), then an affine map."""
    box, p, q = bytearray(256), 1, 1
    while True:
        p ^= _double(p)
        for shift in (1, 2, 4):
            q ^= q << shift & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        turned = q ^ (q << 1 | q >> 7) ^ (q << 2 | q >> 6) ^ (q << 3 | q >> 5) ^ (q << 4 | q >> 4)
        box[p] = turned & 0xFF ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    return bytes(box)


S_BOX = _s_box()
# The byte that each place of a block takes its value from when rows are shifted.
SHIFTED = tuple((4 * (column + row) + row) % 16 for column in range(4) for row in range(4))


class Aes:
    """AES encryption of single blocks (FIPS 197)."""

    def __init__(self, key: bytes) -> None:
        size, words = len(key) // 4, [key[i : i + 4] for i in range(0, len(key), 4)]
        turn = 1
        for number in range(size, 4 * (size + 7)):
            word = words[-1]
            if number % size == 0:
                word = bytes(S_BOX[b] for b in word[1:] + word[:1])
                word, turn = bytes([word[0] ^ turn]) + word[1:], _double(turn)
            elif size > 6 and number % size == 4:
                word = bytes(S_BOX[b] for b in word)
            words.append(bytes(a ^ b for a, b in zip(words[number - size], word, strict=True)))
        self._rounds = [b"".join(words[i : i + 4]) for i in range(0, len(words), 4)]

    def block(self, text: bytes) -> bytes:
        state = bytes(a ^ b for a, b in zip(text, self._rounds[0], strict=True))
        for number, key in enumerate(self._rounds[1:], 1):
            state = bytes(S_BOX[state[place]] for place in SHIFTED)
            mixed = state if number == len(self._rounds) - 1 else _mix(state)
            state = bytes(a ^ b for a, b in zip(mixed, key, strict=True))
        return state


def _mix(state: bytes) -> bytes:
    mixed = bytearray()
    for at in range(0, 16, 4):
        a, b, c, d = state[at : at + 4]
        every = a ^ b ^ c ^ d
        mixed += bytes(x ^ every ^ _double(x ^ y) for x, y in ((a, b), (b, c), (c, d), (d, a)))
    return bytes(mixed)
