"""The agent's jobs that concern a repository alone: make one, measure it, list what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backups.job import Job
from backups.journal import Context
from backups.repository import Repository
from backups.restic import Snapshot


def init(job: Job, context: Context) -> dict[str, Any]:
    """Make the repository. Result: `id`. Raises RepositoryExists, with its id in `data` when our password opens it."""
    repository = Repository.of(job)
    with context.step("init") as told:
        repository.version()
        told["id"] = repository.init()
    return {"state": "ok", "id": told["id"]}


def stats(job: Job, context: Context) -> dict[str, Any]:
    """What the repository occupies. Result: `id`, `bytes`, `bytes_uncompressed`, `snapshots`."""
    repository = Repository.of(job)
    with context.step("stats"):
        found: Mapping[str, Any] = repository.stats()
        known = repository.open()
    return {
        "state": "ok",
        "id": known,
        "bytes": int(found.get("total_size", 0)),
        "bytes_uncompressed": int(found.get("total_uncompressed_size", 0)),
        "snapshots": int(found.get("snapshots_count", 0)),
    }


def snapshots(job: Job, context: Context) -> dict[str, Any]:
    """The sets of the repository, oldest first. Result: `id`, `snapshots` (see `_shown`)."""
    repository = Repository.of(job)
    with context.step("snapshots"):
        known = repository.open()
        listed = repository.snapshots(tags=["ragkeep"])
    return {"state": "ok", "id": known, "snapshots": [_shown(snapshot) for snapshot in listed]}


def _shown(snapshot: Snapshot) -> dict[str, Any]:
    return {**snapshot.as_dict(), "partial": snapshot.partial, "bytes_added": snapshot.bytes_added}
