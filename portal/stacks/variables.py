"""The settings of a stack: what its file takes, what each may be, who is replaced when it changes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from portal.runtime.translate import VARIABLE

LONGEST = 2000
HIDDEN = "********"
# Chosen by `up`, or worked out: not an operator's to change on a page.
FIXED = frozenset(
    {
        "ADMIN_EMAIL", "RAGKEEP_PORTAL_ORIGIN", "RAGKEEP_GID", "RAGKEEP_SECRETS", "RAGKEEP_LISTEN", "RAGKEEP_PORT",
        "RAGKEEP_PORTAL_PORT", "RAGKEEP_VAR",
    }
)  # fmt: skip
# Means something only where services are containers.
_CONTAINERS = re.compile(r"_IMAGE$|_CPUS$|_MEMORY$|^RAGKEEP_")
_SECRET = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|PRIVATE|(?:^|_)KEY$", re.IGNORECASE)
_MODEL = re.compile(r"[A-Za-z0-9][\w./-]*(?::[\w.-]+)?")
_PATTERN = re.compile(r"[A-Za-z0-9*?][\w./:*?-]*")
_IMAGE = re.compile(r"(?:[\w.-]+(?::\d+)?/)?[a-z0-9][a-z0-9._/-]*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?")
_SIZE = re.compile(r"\d+[bkmg]", re.IGNORECASE)
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MOST_UPLOAD = 100 * 2**30


@dataclass(frozen=True, slots=True)
class Variable:
    """A setting that the stack's file takes; `services` are replaced when it changes. `known`: it is one of the
    product's own, of which more is known than its name."""

    name: str
    default: str
    services: tuple[str, ...]
    known: bool = True

    @property
    def is_secret(self) -> bool:
        return _SECRET.search(self.name) is not None

    @property
    def hint(self) -> str:
        """What it is; empty for one that only its file knows."""
        rule = _rule(self.name) if self.known else None
        return rule.hint if rule else ""


@dataclass(frozen=True, slots=True)
class _Rule:
    hint: str
    wrong: Callable[[str], str]


def variables(tree: Mapping[str, object], *, containers: bool) -> list[Variable]:
    """What a stack file takes, in its order, `${NAME}` and `${NAME:-default}` alike.

    Args:
        tree: the file as parsed YAML.
        containers: also what means something for containers alone.
    """
    defaults, users = dict[str, str](), dict[str, list[str]]()
    services = tree.get("services")
    for service, config in services.items() if isinstance(services, Mapping) else ():
        for name, default in _named(config):
            defaults.setdefault(name, default)
            if service not in users.setdefault(name, []):
                users[name].append(str(service))
    found = (Variable(name, default, tuple(users[name])) for name, default in defaults.items())
    kept = [one for one in found if one.name not in FIXED and (containers or not _CONTAINERS.search(one.name))]
    # What a set is told of, though no service is.
    return [*kept, Variable("PULLABLE_MODELS", "", ())]


def _named(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield from ((found["name"], found["default"] or "") for found in VARIABLE.finditer(value) if found["name"])
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)


def wrong(name: str, value: str, *, known: bool = True) -> str:
    """Why a setting cannot have this value, as a sentence; empty when it can. An empty value means the default.

    Args:
        known: it is one of the product's own settings, of which more is known than the name.
    """
    if not value:
        return ""
    if len(value) > LONGEST:
        return f"It is longer than {LONGEST} characters."
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        return "It holds a line break or another character that cannot be written."
    rule = _rule(name) if known else None
    return rule.wrong(value) if rule else ""


def masked(variable: Variable, value: str) -> str:
    """The value as it may be shown: a secret not at all, an address without its password."""
    if value and variable.is_secret:
        return HIDDEN
    return re.sub(r"(\w://[^\s:/@]*:)[^\s/@]+(?=@)", rf"\g<1>{HIDDEN}", value)


def replaced(found: Collection[Variable], names: Collection[str]) -> list[str]:
    """The services that are replaced when these settings change."""
    return list(dict.fromkeys(service for one in found if one.name in names for service in one.services))


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        well = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well = False
    return "" if well else "Expected an address like http://192.0.2.7:11434."


def _model(value: str) -> str:
    return "" if _MODEL.fullmatch(value) else "Expected the name of a model, like llama3.2:3b."


def _patterns(value: str) -> str:
    strange = [word for word in value.split() if not _PATTERN.fullmatch(word)]
    return f"{strange[0]!r} is no name or pattern of a model, like llama3:*." if strange else ""


def _bytes(value: str) -> str:
    well = value.isascii() and value.isdigit() and 1024 <= int(value) <= MOST_UPLOAD
    return "" if well else f"Expected a whole number of bytes from 1024 to {MOST_UPLOAD}."


def _name(value: str) -> str:
    well = re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", value)
    return "" if well else "Expected at most 40 lower-case letters, digits and hyphens."


def _level(value: str) -> str:
    return "" if value in LEVELS else f"Expected one of {', '.join(LEVELS)}."


def _image(value: str) -> str:
    if not _IMAGE.fullmatch(value):
        return "Expected an image like registry.example.org/postgres:18.4."
    if ":" not in value.rpartition("/")[2] or value.endswith(":latest"):
        return "Name an exact tag: another one could be pulled tomorrow under the same name."
    return ""


def _cpus(value: str) -> str:
    well = re.fullmatch(r"\d{1,4}(?:\.\d{1,2})?", value) and float(value) > 0
    return "" if well else "Expected a number of processors, like 2 or 1.5."


def _memory(value: str) -> str:
    return "" if _SIZE.fullmatch(value) else "Expected an amount of memory, like 512m or 8g."


_RULES: dict[str, _Rule] = {
    "OLLAMA_URL": _Rule("An Ollama server to use instead of the stack's own.", _url),
    "CHAT_MODEL": _Rule("Model that writes answers.", _model),
    "EMBED_MODEL": _Rule("Model that makes vectors. With another one all documents are embedded again.", _model),
    "PULLABLE_MODELS": _Rule("Models that sets name and do not hold: names or patterns, by spaces.", _patterns),
    "MAX_UPLOAD_BYTES": _Rule("Largest file that may be uploaded, in bytes.", _bytes),
    "ENVIRONMENT": _Rule("Name of the environment; becomes part of every set.", _name),
    "LOG_LEVEL": _Rule("How much services write: DEBUG, INFO, WARNING or ERROR.", _level),
}
_ENDINGS: dict[str, _Rule] = {
    "_IMAGE": _Rule("Image of the service, with an exact tag.", _image),
    "_CPUS": _Rule("Processors the service may use.", _cpus),
    "_MEMORY": _Rule("Memory the service may use.", _memory),
}


def _rule(name: str) -> _Rule | None:
    ending = next((rule for end, rule in _ENDINGS.items() if name.endswith(end)), None)
    return _RULES.get(name) or ending
