"""What a restore would bring back and what it would take away, before anybody says yes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backups.manifest import DUMP, Manifest
from backups.restore import postgres

NAMED = 50
SHOWN = 5
# Rows of documents come out of the dump itself; beyond this it would take too long for a preview.
DUMP_LIMIT = 512 * 1024 * 1024
GONE = ("deleting", "gone")

Document = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the comparison.

    Attributes:
        counts: as backup_counts has them, and `vectors`.
        documents: (name, sha256) -> how many; None when they cannot be known.
        models: their names.
        users: addresses of the accounts; None when they cannot be known.
        identities: id -> name of every document.
        deleted: ids of documents that were deleted at some time.
        damaged: (name, sha256) of documents whose file is not there, or not whole.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    documents: Counter[Document] | None = None
    models: frozenset[str] = frozenset()
    users: frozenset[str] | None = None
    identities: Mapping[str, str] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    damaged: Sequence[Document] = ()


def compare(live: Side, backup: Side) -> dict[str, Any]:
    """The preview: `counts` (name -> {live, set, change}); `documents`, `users` and `models` gained and lost;
    `deletions` ({count, names}), documents of the set that were deleted after it; `damaged` ({count, names,
    returning}), documents whose file is lost today, and how many files of those the set has.

    `summary` says the same in lines for people. At most NAMED names are given, `gained_count` and `lost_count` tell
    all; they are None when one side is not known.
    """
    changes: dict[str, Any] = {
        "counts": _counts(live.counts, backup.counts),
        "documents": _documents(live.documents, backup.documents),
        "users": _users(live.users, backup.users),
        "models": {"gained": sorted(backup.models - live.models), "lost": sorted(live.models - backup.models)},
        "deletions": _named(name for key, name in backup.identities.items() if key in live.deleted),
        "damaged": _damaged(live, backup),
    }
    return {**changes, "summary": list(_summary(changes))}


def set_side(manifest: Manifest, pg_bin: Path, dump: Path | None) -> Side:
    """What the set holds. `dump`: the set's database dump, None when it is too large for a preview."""
    counts = {**manifest.counts, "vectors": sum(collection.vectors for collection in manifest.collections)}
    models = frozenset(model.name for model in manifest.models)
    if dump is None:
        return Side(counts, None, models)
    rows = list(postgres.table_rows(pg_bin, dump, "documents"))
    known = all("name" in row and "sha256" in row for row in rows)
    present = [row for row in rows if row.get("state") not in GONE] if known else []
    return Side(
        counts,
        Counter((row["name"], row["sha256"]) for row in present) if known else None,
        models,
        users=frozenset(row["email"] for row in postgres.table_rows(pg_bin, dump, "users") if row.get("email")),
        identities={row["id"]: row["name"] for row in present if "id" in row},
    )


def dump_is_small(manifest: Manifest) -> bool:
    return sum(entry.bytes for entry in manifest.files_of("postgres") if entry.path == DUMP) <= DUMP_LIMIT


def model_names(store: Path) -> Iterator[str]:
    """Names of the models in an Ollama store, e.g. `smollm2:135m`."""
    for path in (store / "manifests").rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            *_, namespace, name, tag = ("", *path.parts)
            yield f"{name}:{tag}" if namespace == "library" else f"{namespace}/{name}:{tag}"


def _counts(live: Mapping[str, int], backup: Mapping[str, int]) -> dict[str, dict[str, int | None]]:
    return {
        name: {"live": live.get(name), "set": backup.get(name), "change": backup.get(name, 0) - live.get(name, 0)}
        for name in sorted({*live, *backup})
    }


def _documents(live: Counter[Document] | None, backup: Counter[Document] | None) -> dict[str, Any]:
    if live is None or backup is None:
        return _unknown()
    gained, lost = backup - live, live - backup
    return {
        "gained_count": gained.total(),
        "lost_count": lost.total(),
        "gained": sorted(name for name, _ in gained)[:NAMED],
        "lost": sorted(name for name, _ in lost)[:NAMED],
    }


def _users(live: frozenset[str] | None, backup: frozenset[str] | None) -> dict[str, Any]:
    if live is None or backup is None:
        return _unknown()
    gained, lost = sorted(backup - live), sorted(live - backup)
    return {
        "gained_count": len(gained), "lost_count": len(lost), "gained": gained[:NAMED], "lost": lost[:NAMED],
    }  # fmt: skip


def _unknown() -> dict[str, Any]:
    return {"gained_count": None, "lost_count": None, "gained": [], "lost": []}


def _named(names: Iterable[str]) -> dict[str, Any]:
    found = sorted(names)
    return {"count": len(found), "names": found[:NAMED]}


def _damaged(live: Side, backup: Side) -> dict[str, Any]:
    held = {sha256 for _, sha256 in backup.documents or ()}
    returning = sum(sha256 in held for _, sha256 in live.damaged)
    return {**_named(name for name, _ in live.damaged), "returning": returning}


def _summary(changes: Mapping[str, Any]) -> Iterator[str]:
    yield from _count_lines(changes["counts"])
    for what in ("documents", "users", "models"):
        yield from _name_lines(what, changes[what])
    damaged, deletions = changes["damaged"], changes["deletions"]
    if damaged["count"]:
        yield (
            f"documents whose file is lost or damaged now: {_shown(damaged)};"
            f" the set has the files of {damaged['returning']:,}"
        )
    if deletions["count"]:
        yield f"documents deleted after the set: {_shown(deletions)}"


def _shown(found: Mapping[str, Any]) -> str:
    more = found["count"] - len(found["names"][:SHOWN])
    return ", ".join(found["names"][:SHOWN]) + (f" and {more:,} more" if more else "")


def _count_lines(counts: Mapping[str, Mapping[str, int | None]]) -> Iterator[str]:
    for name, count in counts.items():
        now, then = ("unknown" if count[side] is None else f"{count[side]:,}" for side in ("live", "set"))
        change = f"{count['change']:+,}" if count["change"] else "no change"
        known = None not in (count["live"], count["set"])
        yield f"{name.replace('_', ' ')}: {now} now, {then} in the set" + (f" ({change})" if known else "")


def _name_lines(what: str, changes: Mapping[str, Any]) -> Iterator[str]:
    for side in ("gained", "lost"):
        names = changes[side]
        more = (changes.get(f"{side}_count") or len(names)) - len(names[:SHOWN])
        if names:
            yield f"{what} {side}: {', '.join(names[:SHOWN])}" + (f" and {more:,} more" if more else "")
