"""What of a release nobody is to read: kept encrypted in a file for the portal's account, told by digests elsewhere.

Both are keyed with a file beside the other secrets: without it nobody can read values, or try some against the digests.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings

from backups.secret import Secret, write_secret
from portal.core import cipher
from portal.runtime.compose.record import write_private

# Shorter values would turn up by chance in the middle of other words.
TELLING_LENGTH = 6
USER_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
HIDDEN = "(hidden)"
# Where a deployed file has values of variables: Compose's names for them, and the one of local processes.
VARIABLES = frozenset({"environment", "args", "content", "env"})


@dataclass(frozen=True, slots=True)
class Sealed:
    """The whole file as the engine gets it, and the stack's settings with their values."""

    text: str
    settings: Mapping[str, str]


def folder() -> Path:
    """Where releases are sealed; only the portal's account enters it."""
    path = Path(settings.VAR_DIR) / "control" / "secrets" / "releases"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def seal(stack: str, number: int, content: Sealed) -> str:
    """Write the file of a release, 0600, and return its path."""
    path = folder() / f"{stack}-{number}.sealed"
    text = json.dumps(asdict(content)).encode()
    write_private(path, cipher.encrypt(_key("seal"), text, _about(stack, number)))
    return str(path)


def unseal(path: str, stack: str, number: int) -> Sealed:
    """Read the file of a release.

    Raises:
        OSError: it cannot be read.
        SealBroken: it was changed, or sealed with the key of another installation.
    """
    text = cipher.decrypt(_key("seal"), Path(path).read_bytes(), _about(stack, number))
    return Sealed(**json.loads(text))


def _about(stack: str, number: int) -> bytes:
    return f"release {number} of {stack}".encode()


def digests(values: Mapping[str, str]) -> dict[str, str]:
    """A keyed digest of each value that is not empty."""
    key = _key("digest")
    return {name: _digest(key, value) for name, value in sorted(values.items()) if value}


def outline(text: str, given: Mapping[str, str]) -> str:
    """A deployed file as people may read it, as YAML: variables by digest, settings by name, no user in an address.

    Args:
        given: the stack's settings; wherever one of their values stands, its name is shown instead.
    """
    names = {value: name for name, value in given.items() if len(value) >= TELLING_LENGTH}
    tree = _masked(yaml.safe_load(text), _key("digest"), names)
    return yaml.safe_dump(tree, sort_keys=False, width=120, allow_unicode=True)


def _key(purpose: str) -> bytes:
    """A key of 32 bytes for one purpose, made from the one in the file; the file is made when it is missing."""
    path = folder() / "key"
    with suppress(FileExistsError):
        write_secret(path, secrets.token_hex(cipher.KEY_BYTES))
    return hmac.new(bytes.fromhex(Secret.from_file(path).reveal()), purpose.encode(), hashlib.sha256).digest()


def _digest(key: bytes, value: str) -> str:
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:12]


def _masked(node: Any, key: bytes, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - a part of a YAML tree
    if isinstance(node, dict):
        return {
            name: _variables(part, key) if name in VARIABLES else _masked(part, key, names)
            for name, part in node.items()
        }
    if isinstance(node, list):
        return [_masked(part, key, names) for part in node]
    return _named(node, names) if isinstance(node, str) else node


def _variables(node: Any, key: bytes) -> Any:  # noqa: ANN401 - a part of a YAML tree
    if isinstance(node, dict):
        return {name: _variables(value, key) for name, value in node.items()}
    if isinstance(node, list):
        pairs = (str(entry).partition("=") for entry in node)
        return {name: _variables(value, key) for name, _, value in pairs}
    return f"{HIDDEN} {_digest(key, str(node))}" if node not in (None, "") else node


def _named(text: str, names: Mapping[str, str]) -> str:
    for value, name in names.items():
        text = text.replace(value, f"${{{name}}}")
    return USER_IN_ADDRESS.sub(HIDDEN, text)
