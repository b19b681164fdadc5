"""A set's row as the rows of its page: the figures of every source, versions, what looked wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from portal.vaults.models import BackupSet
from portal.web import words

ORDER = ("documents", "vectors", "models", "postgres", "config")
# The database keeps no order of what is inside a field.
_STEPS = ("preflight", "prepare", "freeze", "dump", "verify", "commit")
_VERSIONS = ("ragkeep", "postgres", "chroma", "restic", "pg_dump")
# Figures with a column of their own.
_COLUMNS = ("files", "bytes", "bytes_added", "seconds", "errors")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source; what was not recorded is None. `remarks`: further figures in words."""

    title: str
    files: int | None
    bytes: int | None
    added: int | None
    seconds: float | None
    errors: list[str]
    remarks: str


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the page of a set shows beyond its own columns."""

    sources: list[SourceRow]
    versions: list[tuple[str, str]]
    models: list[str]
    collections: list[dict[str, Any]]
    steps: list[tuple[str, float]]
    questions: int | None
    missing: list[str]
    missing_count: int
    left_out: list[str]
    chosen: list[str]
    anomalies: list[dict[str, str]]
    compared_with: str = ""
    counts: Mapping[str, Any] = field(default_factory=dict)


def parts(found: BackupSet) -> Parts:
    """Read what was recorded of a set; see the reference of the set's format for the keys."""
    detail = found.detail
    missing = list(detail.get("missing") or [])
    return Parts(
        sources=[_source(name, found.sources[name]) for name in sorted(found.sources, key=_place)],
        versions=_versions(detail.get("versions") or {}),
        models=_models(detail),
        collections=list(detail.get("collections") or []),
        steps=[(words.plain_name(n).capitalize(), value) for n, value in _sorted(detail.get("steps"), _STEPS)],
        questions=detail.get("questions"),
        missing=missing,
        missing_count=int(detail.get("missing_count") or len(missing)),
        left_out=list(detail.get("left_out") or []),
        chosen=list(detail.get("sources") or []),
        anomalies=list(found.anomalies),
        compared_with=str(detail.get("compared_with") or ""),
        counts=found.counts,
    )


def _sorted(found: Mapping[str, Any] | None, order: Sequence[str]) -> list[tuple[str, Any]]:
    """Items in the order of `order`, then by name."""
    return sorted((found or {}).items(), key=lambda item: (order.index(item[0]) if item[0] in order else 99, item[0]))


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _source(name: str, figures: Mapping[str, Any]) -> SourceRow:
    errors = figures.get("errors") or []
    further = {key: value for key, value in figures.items() if key not in (*_COLUMNS, "taken_at")}
    return SourceRow(
        title=name.replace("_", " ").capitalize() if name in ORDER else name,
        files=figures.get("files"),
        bytes=figures.get("bytes"),
        added=figures.get("bytes_added"),
        seconds=figures.get("seconds"),
        errors=[str(error) for error in errors] if isinstance(errors, list) else [f"{errors} files"],
        remarks=", ".join(_remark(key, value) for key, value in further.items() if value not in (None, "", [], {})),
    )


def _remark(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        rows = sum(number for number in value.values() if isinstance(number, int))
        return f"{words.count(rows)} rows in {len(value)} {words.plain_name(key)}"
    if isinstance(value, list):
        return f"{len(value)} {words.plain_name(key)}"
    return words.remark(key, value if isinstance(value, str | int | float) else str(value))


def _versions(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    extensions = found.get("extensions") or {}
    hidden = ("extensions", "postgres_major")
    shown = [(name, value) for name, value in _sorted(found, _VERSIONS) if name not in hidden and value]
    named = [(words.plain_name(name).capitalize(), str(value)) for name, value in shown]
    listed = ", ".join(f"{name} {version}" for name, version in extensions.items())
    return [*named, *([("Extensions", listed)] if listed else [])]


def _models(detail: Mapping[str, Any]) -> list[str]:
    own = [str(model["name"]) for model in detail.get("models") or []]
    others = [f"{model['name']}, of a server outside" for model in detail.get("external_models") or []]
    pulled = [f"{model['name']}, to be pulled again" for model in detail.get("pullable") or []]
    return [*own, *others, *pulled]
