"""The agent's jobs that read a repository which somebody else, or an earlier life of ours, wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backups.errors import ManifestInvalid, ResticFailed
from backups.job import Job
from backups.journal import Context
from backups.manifest import SET_JSON, Manifest
from backups.repository import Repository
from backups.restic import Snapshot
from backups.restore.sets import TAG

# Each start of restic waits for the network most of its time.
AT_ONCE = 4
# The portal keeps no more names than a page shows.
MOST_MISSING = 100


def adopt(job: Job, context: Context) -> dict[str, Any]:
    """List every snapshot, ours and foreign, oldest first. Result: `id`, `snapshots` (see `shown`)."""
    repository = Repository.of(job)
    with context.step("list_snapshots") as told:
        known = repository.open()
        listed = [shown(snapshot) for snapshot in repository.snapshots()]
        told["snapshots"] = len(listed)
    return {"state": "ok", "id": known, "snapshots": listed}


def shown(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as JSON; `set` is null when it is no backup set of ours."""
    return {
        **snapshot.as_dict(),
        "set": snapshot.set_id if TAG in snapshot.tags else None,
        "paths": list(snapshot.paths),
        "partial": snapshot.partial,
        "bytes_added": snapshot.bytes_added,
    }


def describe(job: Job, context: Context) -> dict[str, Any]:
    """Read set.json out of the snapshots `options.snapshots`.

    Result: `described`, one for each snapshot id: what set.json says (see `said`), or `error` when it cannot be read.

    Raises:
        RepositoryError: the repository itself cannot be read.
    """
    wanted = job.option_fields().texts("snapshots")
    repository = Repository.of(job)
    with context.step("read_sets") as told, ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda snapshot: _described(repository, snapshot), wanted))
        told["sets"] = len(found)
    return {"state": "ok", "described": dict(zip(wanted, found, strict=True))}


def _described(repository: Repository, snapshot: str) -> dict[str, Any]:
    try:
        return said(repository.dump(snapshot, SET_JSON))
    except ResticFailed as error:
        return {"error": {**error.to_json(), "message": f"set.json cannot be read: {error.message}"}}
    except ManifestInvalid as error:
        return {"error": error.to_json()}


def said(text: str) -> dict[str, Any]:
    """What a set.json says, without its lists of files and vectors.

    Raises:
        ManifestInvalid: it is of a newer format, or broken.
    """
    manifest, whole = Manifest.from_json(text), json.loads(text)
    return {
        "stack": manifest.stack,
        "environment": manifest.environment,
        "state": manifest.state,
        "taken_at": manifest.taken_at.isoformat(),
        "freeze_ms": manifest.freeze_ms,
        "counts": manifest.counts,
        "sources": {
            name: {"files": found.files, "bytes": found.bytes, **found.details}
            for name, found in manifest.sources.items()
        },
        "anomalies": list(whole.get("anomalies") or ()),
        "detail": detail(whole),
    }


def detail(whole: Mapping[str, Any]) -> dict[str, Any]:
    """What the portal keeps of a set.json, see docs/reference/set-format.md."""
    missing, chosen = whole.get("missing") or [], whole.get("chosen")
    found = {
        "versions": whole["versions"],
        "models": _named(whole["models"]),
        "external_models": _named(whole.get("external_models")),
        "pullable": _named(whole.get("pullable")),
        "collections": [
            _picked(one, "name", "dimension", "model", "vectors", "chunks") for one in whole["collections"]
        ],
        "questions": len(whole["canary"]),
        "missing": missing[:MOST_MISSING],
        "missing_count": len(missing),
        "left_out": whole.get("left_out") or [],
    }
    return {**found, "sources": chosen} if chosen is not None else found


def _named(models: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    return None if models is None else [_picked(model, "name", "digest") for model in models]


def _picked(one: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: one[name] for name in names if name in one}
