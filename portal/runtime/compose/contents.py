"""Digests of what a service mounts: Compose's own hash ignores the contents of files and secrets.

The digests are keyed, because they end up in labels that more people may read than the files: without the key nobody
can try passwords against them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from portal.runtime.compose.containers import CONTENTS

KEY_BYTES = 32
# Nobody mounts configuration of this size; of larger files the size and the time of the last change must do.
WHOLE_FILE_BYTES = 8 << 20
# Made by whoever reads the files; says nothing about them.
BY_PRODUCTS = frozenset({"__pycache__"})


def key(file: Path) -> bytes:
    """The stack's key; a new one, not kept, while the stack has none."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return secrets.token_bytes(KEY_BYTES)


def watched_by_itself(service: Mapping[str, Any]) -> str:
    """The label of a service that sets it in its file: it reads changed files without being replaced. Else empty."""
    return str((service.get("labels") or {}).get(CONTENTS, ""))


def mounted(service: Mapping[str, Any], model: Mapping[str, Any], places: Mapping[str, Path]) -> dict[str, Path | str]:
    """What a service mounts besides volumes, by the name people know it by: a path, or the text itself.

    A folder that the service may write to is data and left out; a single file is configuration either way.

    Args:
        service: as it stands in the resolved model.
        places: where secrets are that do not lie where the model says.
    """
    found: dict[str, Path | str] = {}
    if watched_by_itself(service):
        return found
    for mount in service.get("volumes") or []:
        place = Path(mount.get("source") or "")
        if mount["type"] == "bind" and (mount.get("read_only") or place.is_file()):
            found[mount["target"]] = place
    for kind in ("configs", "secrets"):
        for entry in service.get(kind) or []:
            definition = (model.get(kind) or {}).get(entry["source"]) or {}
            source = places.get(entry["source"]) if kind == "secrets" else None
            if source or "file" in definition:
                found[f"{kind[:-1]} {entry['source']}"] = source or Path(definition["file"])
            elif "content" in definition:
                found[f"{kind[:-1]} {entry['source']}"] = str(definition["content"])
    return found


def digests(parts: Mapping[str, Path | str], secret: bytes) -> dict[str, str]:
    """A digest of each part; what cannot be read counts as empty."""
    return {name: _digest(part, secret) for name, part in parts.items()}


def combined(parts: Mapping[str, str]) -> str:
    """One digest of all parts, empty when there are none."""
    if not parts:
        return ""
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(parts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest(part: Path | str, secret: bytes) -> str:
    code = hmac.new(secret, digestmod=hashlib.sha256)
    for piece in [part.encode()] if isinstance(part, str) else _pieces(part):
        code.update(len(piece).to_bytes(8, "big") + piece)
    return code.hexdigest()[:16]


def _pieces(path: Path) -> Iterator[bytes]:
    if path.is_file():
        yield from _file(path)
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and not BY_PRODUCTS.intersection(file.parts):
            yield os.fsencode(file.relative_to(path))
            yield from _file(file)


def _file(path: Path) -> Iterator[bytes]:
    try:
        told = path.stat()
        if told.st_size > WHOLE_FILE_BYTES:
            yield f"{told.st_size} {told.st_mtime_ns}".encode()
        else:
            yield path.read_bytes()
    except OSError:
        return
