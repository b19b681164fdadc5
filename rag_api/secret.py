"""A value that nobody sees by accident, and the rules a secret must meet before the service starts."""

from __future__ import annotations

import re
from pathlib import Path

MIN_LENGTH = 12
# Anchored: a random secret may well contain such a word somewhere, it hardly starts with one.
PLACEHOLDERS = re.compile(r"change.?me|placeholder|password|secret|example|default|todo|your|12345678", re.IGNORECASE)


class Secret:
    """Holds a secret string; printing, formatting and pickling show `***`, only `reveal()` shows it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "***"

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return (Secret, ("***",))


class WeakSecretError(ValueError):
    """A secret is missing, too short or a placeholder; the message names its variable and never its value."""


def read_secret(variable: str, path: str | None) -> Secret:
    """Return the first line of the file that the environment variable `variable` names.

    Raises:
        WeakSecretError: no file, empty, shorter than 12 characters, one character repeated, or a known placeholder.
    """
    if not path:
        raise WeakSecretError(f"{variable} is not set: it must name a file that holds the secret on one line")
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise WeakSecretError(f"{variable}: the file {path} cannot be read; create it readable for this user") from None
    value = lines[0].strip() if lines else ""
    if len(value) < MIN_LENGTH or len(set(value)) < 4:
        raise WeakSecretError(f"{variable}: the secret in {path} is shorter than {MIN_LENGTH} characters or trivial")
    if PLACEHOLDERS.match(value):
        raise WeakSecretError(f"{variable}: the secret in {path} is a placeholder; replace it by a random one")
    return Secret(value)
