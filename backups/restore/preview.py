"""What a restore would bring back and what it would take away, before anybody says yes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from backups.manifest import DUMP, Manifest
from backups.restore import postgres
from backups.restore.database import Server

NAMED = 50
SHOWN = 5
# Rows of documents come out of the dump itself; beyond this it would take too long for a preview.
DUMP_LIMIT = 512 * 1024 * 1024
_GONE = ("deleting", "gone")

Document = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the comparison.

    Attributes:
        counts: as backup_counts has them.
        documents: (name, sha256) -> how many; None when they cannot be known.
        models: their names.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    documents: Counter[Document] | None = None
    models: frozenset[str] = frozenset()


def compare(live: Side, backup: Side) -> dict[str, Any]:
    """The preview: `counts` (name -> {live, set, change}), `documents` and `models` gained and lost.

    `summary` says the same in lines for people. At most NAMED names of documents are given, `gained_count` and
    `lost_count` tell all; they are None when one side is not known.
    """
    names = sorted({*live.counts, *backup.counts})
    counts = {
        name: {
            "live": live.counts.get(name),
            "set": backup.counts.get(name),
            "change": backup.counts.get(name, 0) - live.counts.get(name, 0),
        }
        for name in names
    }
    documents = _documents(live.documents, backup.documents)
    models = {"gained": sorted(backup.models - live.models), "lost": sorted(live.models - backup.models)}
    return {
        "counts": counts,
        "documents": documents,
        "models": models,
        "summary": [*_count_lines(counts), *_name_lines("documents", documents), *_name_lines("models", models)],
    }


def live_side(server: Server | None, database: str, models: Path) -> Side:
    """What is live now; an empty side where there is no database yet, or not one of the RAG service."""
    counts: dict[str, int] = {}
    documents: Counter[Document] | None = Counter()
    if server is not None and database in server.oids():
        with server.connect(database) as connection:
            try:
                counts = {str(n): int(v) for n, v in connection.execute("SELECT name, value FROM backup_counts")}
                documents = _live_documents(connection)
            except psycopg.errors.UndefinedTable:
                documents = Counter()
    return Side(counts, documents, frozenset(model_names(models)))


def set_side(manifest: Manifest, pg_bin: Path, dump: Path | None) -> Side:
    """What the set holds. `dump`: the set's database dump, None when it is too large for a preview."""
    documents = None if dump is None else _dumped_documents(postgres.table_rows(pg_bin, dump, "documents"))
    return Side(manifest.counts, documents, frozenset(model.name for model in manifest.models))


def dump_is_small(manifest: Manifest) -> bool:
    return sum(entry.bytes for entry in manifest.files_of("postgres") if entry.path == DUMP) <= DUMP_LIMIT


def model_names(store: Path) -> Iterator[str]:
    """Names of the models in an Ollama store, e.g. `smollm2:135m`."""
    for path in (store / "manifests").rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            *_, namespace, name, tag = ("", *path.parts)
            yield f"{name}:{tag}" if namespace == "library" else f"{namespace}/{name}:{tag}"


def _live_documents(connection: psycopg.Connection) -> Counter[Document]:
    query = "SELECT name, sha256 FROM backup_documents WHERE state <> ALL(%s)"
    return Counter((str(name), str(sha256)) for name, sha256 in connection.execute(query, (list(_GONE),)))


def _dumped_documents(rows: Iterable[Mapping[str, str]]) -> Counter[Document] | None:
    found: Counter[Document] = Counter()
    for row in rows:
        if "name" not in row or "sha256" not in row:
            return None
        if row.get("state") not in _GONE:
            found[(row["name"], row["sha256"])] += 1
    return found


def _documents(live: Counter[Document] | None, backup: Counter[Document] | None) -> dict[str, Any]:
    if live is None or backup is None:
        return {"gained_count": None, "lost_count": None, "gained": [], "lost": []}
    gained, lost = backup - live, live - backup
    return {
        "gained_count": gained.total(),
        "lost_count": lost.total(),
        "gained": sorted(name for name, _ in gained)[:NAMED],
        "lost": sorted(name for name, _ in lost)[:NAMED],
    }


def _count_lines(counts: Mapping[str, Mapping[str, int | None]]) -> Iterator[str]:
    for name, count in counts.items():
        now, then = ("unknown" if count[side] is None else f"{count[side]:,}" for side in ("live", "set"))
        change = f"{count['change']:+,}" if count["change"] else "no change"
        yield f"{name.replace('_', ' ')}: {now} now, {then} in the set ({change})"


def _name_lines(what: str, changes: Mapping[str, Any]) -> Iterator[str]:
    for side in ("gained", "lost"):
        names = changes[side]
        more = (changes.get(f"{side}_count") or len(names)) - len(names[:SHOWN])
        if names:
            yield f"{what} {side}: {', '.join(names[:SHOWN])}" + (f" and {more:,} more" if more else "")
