"""For drills: everything that was restored against everything that the set lists, not a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from backups.chroma import Store
from backups.errors import StagingInvalid
from backups.manifest import Manifest
from backups.restore import canary, verify
from backups.restore.canary import Api
from backups.restore.errors import CanaryUnreached, SetDamaged
from backups.restore.swap import Target


def report(target: Target, manifest: Manifest, api: Api, vectordb_url: str) -> dict[str, Any]:
    """Compare a restored, running stack with its set.

    Returns:
        `passed` and, per part, what was expected and found: `documents` (every file hashed), `rows`, `vectors` (as the
        running vector store counts them), `canary` (the retrieved chunks of every question).

    Raises:
        CanaryUnreached: a service does not answer.
    """
    expected = [list(question.nearest) for question in manifest.canary]
    found = canary.ask(api, manifest.canary)
    parts = {
        "documents": _documents(target, manifest),
        "rows": _rows(target, manifest),
        "vectors": _vectors(manifest, running_vectors(vectordb_url)),
        "canary": {**canary.agreement(expected, found).to_json(), "retrieved": found},
    }
    return {"passed": all(part["passed"] for part in parts.values()), **parts}


def running_vectors(url: str) -> dict[str, int]:
    """Vectors per collection, asked of a running Chroma.

    Raises:
        CanaryUnreached: it does not answer.
    """
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        store = Store(client)
        try:
            return {name: store.count(key) for name, key in store.collections().items()}
        except StagingInvalid as error:
            raise CanaryUnreached(f"the vector store does not answer at {url}: {error.message}") from None


def _documents(target: Target, manifest: Manifest) -> dict[str, Any]:
    entries = list(manifest.files_of("documents"))
    try:
        verify.verify_files(entries, target.folders("documents").live)
    except SetDamaged as damage:
        return {"passed": False, "expected": len(entries), "message": damage.message, **damage.data}
    return {"passed": True, "expected": len(entries), "found": len(entries)}


def _rows(target: Target, manifest: Manifest) -> dict[str, Any]:
    assert target.server is not None
    with target.server.connect(target.database) as connection:
        rows = connection.execute("SELECT name, value FROM backup_counts").fetchall()
    counts = {str(name): int(value) for name, value in rows}
    expected = {name: value for name, value in manifest.counts.items() if name in counts}
    short = canary.short_counts(counts, manifest.counts)
    return {"passed": not short, "expected": expected, "found": counts, "short": short}


def _vectors(manifest: Manifest, found: Mapping[str, int]) -> dict[str, Any]:
    expected = {collection.name: collection.vectors for collection in manifest.collections}
    return {
        "passed": all(found.get(name) == count for name, count in expected.items()),
        "expected": expected,
        "found": dict(found),
    }
