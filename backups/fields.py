"""Reading values out of decoded JSON so that an error names the path of the offending value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from backups.errors import BackupError, JobInvalid


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING: Final = _Missing()


class Fields:
    """A JSON object at a known path, e.g. `Fields(data, "job").section("stack").text("name")`.

    Every reader raises `error` (a BackupError class) with a message like
    `job.stack.postgres.port: expected a whole number, got 'x'`. Without a default a value is required.
    """

    def __init__(self, value: object, path: str, error: type[BackupError] = JobInvalid) -> None:
        self.path = path
        self._error = error
        if not isinstance(value, Mapping):
            raise error(f"{path}: expected an object, got {_short(value)}")
        self._value: Mapping[str, object] = value

    def text(self, key: str, default: str | _Missing = _MISSING) -> str:
        found = self._value.get(key, default)
        return found if isinstance(found, str) else self._fail(key, "a text", found)

    def filled(self, key: str) -> str:
        """A text that is not empty."""
        found = self.text(key)
        return found if found else self._fail(key, "a text that is not empty", found)

    def text_or_none(self, key: str) -> str | None:
        return None if self._value.get(key) is None else self.text(key)

    def integer(self, key: str, default: int | _Missing = _MISSING) -> int:
        found = self._value.get(key, default)
        if isinstance(found, bool) or not isinstance(found, int):
            self._fail(key, "a whole number", found)
        return found

    def integer_within(self, key: str, least: int, most: int, default: int | _Missing = _MISSING) -> int:
        found = self.integer(key, default)
        return found if least <= found <= most else self._fail(key, f"a whole number from {least} to {most}", found)

    def number(self, key: str, default: float | _Missing = _MISSING) -> float:
        found = self._value.get(key, default)
        if isinstance(found, bool) or not isinstance(found, int | float):
            self._fail(key, "a number", found)
        return float(found)

    def flag(self, key: str, default: bool | _Missing = _MISSING) -> bool:
        found = self._value.get(key, default)
        return found if isinstance(found, bool) else self._fail(key, "true or false", found)

    def mapping(self, key: str, default: Mapping[str, Any] | _Missing = _MISSING) -> dict[str, Any]:
        found = self._value.get(key, default)
        return dict(found) if isinstance(found, Mapping) else self._fail(key, "an object", found)

    def sequence(self, key: str, default: list[Any] | _Missing = _MISSING) -> list[Any]:
        found = self._value.get(key, default)
        return list(found) if isinstance(found, list) else self._fail(key, "a list", found)

    def texts(self, key: str, default: list[str] | _Missing = _MISSING) -> list[str]:
        found = self.sequence(key, default)
        for index, item in enumerate(found):
            if not isinstance(item, str):
                self._fail(f"{key}[{index}]", "a text", item)
        return found

    def values(self) -> dict[str, Any]:
        """The whole object."""
        return dict(self._value)

    def has(self, key: str) -> bool:
        """Whether there is a value, other than null."""
        return self._value.get(key) is not None

    def only(self, *known: str) -> None:
        """Refuse values that nobody would read."""
        for key in self._value:
            if key not in known:
                raise self._error(f"{self.path}.{key}: there is no such value; known are {', '.join(known)}")

    def section(self, key: str) -> Fields:
        return Fields(self._value.get(key), f"{self.path}.{key}", self._error)

    def section_or_none(self, key: str) -> Fields | None:
        return None if self._value.get(key) is None else self.section(key)

    def sections(self, key: str) -> Iterator[Fields]:
        for index, item in enumerate(self.sequence(key)):
            yield Fields(item, f"{self.path}.{key}[{index}]", self._error)

    def one_of(self, key: str, allowed: tuple[str, ...], default: str | _Missing = _MISSING) -> str:
        found = self.text(key, default)
        return found if found in allowed else self._fail(key, "one of " + ", ".join(allowed), found)

    def _fail(self, key: str, wanted: str, found: object) -> NoReturn:
        raise self._error(f"{self.path}.{key}: expected {wanted}, got {_short(found)}")


def _short(value: object) -> str:
    return repr(value)[:60]
