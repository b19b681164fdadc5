"""Reads a parsed YAML tree with errors that name the place: `services.api.ports[0]: expected ...`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from portal.runtime.errors import StackFileError


class Node:
    """One place in a parsed YAML tree: a value and the path that leads to it."""

    __slots__ = ("path", "value")

    def __init__(self, value: object, path: str = "") -> None:
        self.value: Any = value
        self.path = path

    def fail(self, expected: str) -> StackFileError:
        """The error to raise when the value here is not what was expected."""
        return StackFileError(self.path or "(top of the file)", expected)

    def _child(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    @property
    def missing(self) -> bool:
        return self.value is None

    def mapping(self) -> dict[str, Node]:
        """The entries of a mapping with text keys; nothing at all counts as an empty mapping."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.fail(f"expected a mapping, found {kind(self.value)}")
        return {str(key): Node(value, self._child(str(key))) for key, value in self.value.items()}

    def known(self, keys: Collection[str]) -> dict[str, Node]:
        """Like `mapping`, but no other keys than these are allowed."""
        entries = self.mapping()
        for key, node in entries.items():
            if key not in keys:
                raise node.fail(f"unknown key, expected one of {', '.join(sorted(keys))}")
        return entries

    def items(self) -> list[Node]:
        """The elements of a list; nothing at all counts as an empty list."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.fail(f"expected a list, found {kind(self.value)}")
        return [Node(value, f"{self.path}[{index}]") for index, value in enumerate(self.value)]

    def text(self) -> str:
        """A string that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            raise self.fail(f"expected text, found {kind(self.value)}")
        return self.value

    def scalar(self) -> str:
        """A string, number or truth value as text, the way Compose reads a variable's value."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if self.value is None or isinstance(self.value, (dict, list)):
            raise self.fail(f"expected text or a number, found {kind(self.value)}")
        return str(self.value)

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            raise self.fail(f"expected a whole number from {low} to {high}, found {kind(self.value)}")
        return self.value

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.fail(f"expected true or false, found {kind(self.value)}")
        return self.value

    def words(self) -> tuple[str, ...]:
        """A list of texts, as for a command; one string is refused because it would need a shell to split it."""
        if isinstance(self.value, str):
            raise self.fail("expected a list of words, found one text")
        return tuple(node.scalar() for node in self.items())

    def choice(self, allowed: Collection[str]) -> str:
        """One of a few texts."""
        if self.value not in allowed:
            raise self.fail(f"expected one of {', '.join(sorted(allowed))}, found {kind(self.value)}")
        return str(self.value)


def kind(value: object) -> str:
    """A few words about a value for an error message; long ones are cut."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
