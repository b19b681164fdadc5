"""One line a service wrote: fit to be shown, with its level and moment as far as it tells them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

HIDDEN = "***"
LONGEST = 4000
# Shorter ones would turn up in ordinary words.
SHORTEST_SECRET = 8
LEVELS = ("debug", "info", "warning", "error")

# Colours, cursor movements, titles; then whatever else no terminal would print.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_NAMED_SECRET = re.compile(
    r"(?i)((?:password|passwd|secret|token|api[_-]?key|authorization)[\"']?\s*[:=]\s*)"
    r"(?:\"[^\"]*\"|'[^']*'|(?:Bearer\s+|Basic\s+)?[^\s\"',;&]+)"
)
_BEARER = re.compile(r"(?i)\b(Bearer\s+)[\w.~+/=-]{8,}")
_CREDENTIALS = re.compile(r"(\w://[^\s:/@]*:)[^\s/@]+(?=@)")

_WORDS = {
    "debug": "debug", "trace": "debug", "info": "info", "log": "info", "notice": "info", "warning": "warning",
    "warn": "warning", "error": "error", "critical": "error", "fatal": "error", "panic": "error", "crit": "error",
    "emerg": "error", "alert": "error",
}  # fmt: skip
_LEVEL = re.compile(
    rf'"level": ?"(?P<json>{"|".join(_WORDS)})"'
    rf"|\[(?P<boxed>{'|'.join(_WORDS)})\]"
    rf"|\b(?P<plain>{'|'.join(word.upper() for word in _WORDS)})\b",
)
_STATUS = re.compile(r'"status": ?(?P<status>\d{3})\b')
_TRACEBACK = re.compile(r"^(?:Traceback \(most recent|\w+(?:\.\w+)*(?:Error|Exception)\b)")
_HEAD = 200

_ISO = re.compile(
    r"(?P<day>\d{4}[-/]\d\d[-/]\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?P<rest>[.,]\d{1,9})?"
    r"(?P<zone>Z| ?UTC|[+-]\d\d:?\d\d)?"
)
_NAMED = re.compile(r"(?P<day>\d{1,2} [A-Z][a-z]{2} \d{4}) (?P<time>\d\d:\d\d:\d\d)(?P<rest>[.]\d{1,6})?")


@dataclass(frozen=True, slots=True)
class Line:
    """`level` is one of LEVELS; `at` a Unix time in seconds, None as long as the service told none."""

    service: str
    text: str
    level: str
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines to show: `needle` in any case, `least` the lowest level."""

    needle: str = ""
    least: str = "debug"

    def takes(self, line: Line) -> bool:
        enough = LEVELS.index(line.level) >= LEVELS.index(self.least)
        return enough and self.needle.lower() in line.text.lower()


def clean(text: str) -> str:
    """Without what steers a terminal or turns the direction of writing; very long lines are cut."""
    plain = _UNPRINTABLE.sub("", _ESCAPES.sub("", text))
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]} …"


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """Without these secrets, without what follows a name that says it is one, and without credentials in addresses."""
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    text = _CREDENTIALS.sub(rf"\1{HIDDEN}", text)
    text = _NAMED_SECRET.sub(rf"\1{HIDDEN}", text)
    return _BEARER.sub(rf"\1{HIDDEN}", text)


def level_of(text: str) -> str:
    """The level a line tells itself, empty when it tells none."""
    head = text[:_HEAD]
    if found := _LEVEL.search(head):
        return _WORDS[str(found["json"] or found["boxed"] or found["plain"]).lower()]
    if found := _STATUS.search(head):
        status = int(found["status"])
        return "error" if status >= 500 else "warning" if status >= 400 else "info"
    return "error" if _TRACEBACK.match(head) else ""


def moment_of(text: str, zone: tzinfo = UTC) -> float | None:
    """The moment a line begins with, as a Unix time; `zone` holds for lines that name none."""
    head = text[:_HEAD]
    found, form = _ISO.search(head), "%Y-%m-%d %H:%M:%S"
    if found is None:
        found, form = _NAMED.search(head), "%d %b %Y %H:%M:%S"
    if found is None:
        return None
    try:
        at = datetime.strptime(f"{found['day'].replace('/', '-')} {found['time']}", form)
    except ValueError:
        return None
    offset = _offset(found.groupdict().get("zone"), zone)
    part = float(f"0.{found['rest'][1:]}") if found["rest"] else 0.0
    return at.replace(tzinfo=offset).timestamp() + part


def _offset(text: str | None, zone: tzinfo) -> tzinfo | None:
    if not text:
        return zone
    if text.strip() in ("Z", "UTC"):
        return UTC
    return datetime.strptime(text.replace(":", ""), "%z").tzinfo


class Reader:
    """Makes the lines of one service fit to be shown; one that tells no level or moment has those of the line before.

    Args:
        secrets: values that must not be shown.
        zone: of moments that name none.
    """

    def __init__(self, service: str, *, secrets: Sequence[str] = (), zone: tzinfo = UTC) -> None:
        self._service, self._secrets, self._zone = service, secrets, zone
        self._level = "info"
        self._at: float | None = None

    def line(self, text: str) -> Line:
        shown = masked(clean(text), self._secrets)
        goes_on = shown[:1] in ("", " ", "\t", "}")
        self._level = level_of(shown) or (self._level if goes_on else "info")
        self._at = moment_of(shown, self._zone) or self._at
        return Line(self._service, shown, self._level, self._at)


def lines_of(service: str, texts: Iterable[str], *, secrets: Sequence[str] = (), zone: tzinfo = UTC) -> Iterator[Line]:
    """Lines fit to be shown, as `Reader` makes them."""
    return map(Reader(service, secrets=secrets, zone=zone).line, texts)


def merged(many: Sequence[Sequence[Line]]) -> list[Line]:
    """The lines of several services in the order of their moments; those of one service stay in their order."""
    keyed: list[tuple[float, int, int, Line]] = []
    for place, lines in enumerate(many):
        last = next((line.at for line in lines if line.at is not None), 0.0)
        for index, line in enumerate(lines):
            last = max(last, line.at or last)
            keyed.append((last, place, index, line))
    return [line for *_, line in sorted(keyed, key=lambda item: item[:3])]
