"""The agent's jobs that read a repository which somebody else, or an earlier life of ours, wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def adopt(job: Job, context: Context) -> dict[str, Any]:
    """List every snapshot, ours and foreign, oldest first. Result: `id`, `snapshots` (see `shown`)."""
    repository = Repository(job.require_repository(), job.tools.restic, job.cache)
    with context.step("list_snapshots") as told:
        known = repository.open()
        listed = [shown(snapshot) for snapshot in repository.snapshots()]
        told["snapshots"] = len(listed)
    return {"state": "ok", "id": known, "snapshots": listed}


def shown(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as JSON; `set` is null when it is no backup set of ours."""
    return {
        "id": snapshot.id,
        "set": snapshot.set_id if TAG in snapshot.tags else None,
        "time": snapshot.time.isoformat(),
        "host": snapshot.host,
        "tags": list(snapshot.tags),
        "paths": list(snapshot.paths),
        "partial": snapshot.partial,
        "bytes_total": snapshot.bytes_total,
        "bytes_added": snapshot.bytes_added,
    }


def describe(job: Job, context: Context) -> dict[str, Any]:
    """Read set.json out of the snapshots `options.snapshots`.

    Result: `described`, one for each snapshot id: what set.json says (see `said`), or `error` when it cannot be read.

    Raises:
        RepositoryError: the repository itself cannot be read.
    """
    wanted = job.option_fields().texts("snapshots")
    repository = Repository(job.require_repository(), job.tools.restic, job.cache)
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
    manifest = Manifest.from_json(text)
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
        "detail": detail(manifest, json.loads(text)),
    }


def detail(manifest: Manifest, whole: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, models, collections, what is missing and how many canary questions there are."""
    models = [{"name": model["name"], "digest": model["digest"]} for model in whole["models"]]
    return {
        "versions": manifest.versions,
        "models": models,
        "external_models": whole.get("external_models"),
        "collections": whole["collections"],
        "missing": list(manifest.missing),
        "left_out": list(manifest.left_out),
        "canary": {"questions": len(manifest.canary)},
        "roots": manifest.roots,
    }
