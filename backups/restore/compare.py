"""For drills: everything that was restored against everything that the set lists, not a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from backups.chroma import Store
from backups.errors import StagingInvalid
from backups.manifest import Golden, Manifest
from backups.restore import canary, golden, verify
from backups.restore.canary import Api
from backups.restore.errors import CanaryUnreached
from backups.restore.swap import Target


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of the set and the same figure of the restored stack."""

    name: str
    expected: int
    found: int
    ok: bool

    @classmethod
    def equal(cls, name: str, expected: int, found: int) -> Check:
        return cls(name, expected, found, expected == found)

    @classmethod
    def not_less(cls, name: str, expected: int, found: int) -> Check:
        """For rows: a document that was on its way when the set was made may have become ready since."""
        return cls(name, expected, found, found >= expected)


def report(
    target: Target, manifest: Manifest, api: Api, vectordb_url: str, operators: Sequence[Golden] = ()
) -> dict[str, Any]:
    """Compare a restored, running stack with its set. `operators`: the questions that an operator defined.

    Returns:
        `passed`; `checks`, a list of {name, expected, found, ok}: every document hashed, rows, vectors as the running
        vector store counts them; `canary`: see canary.Agreement, and `retrieved`, the chunk ids of every question;
        `golden`: questions in words, see golden.report; `damaged`: the first documents that differ.

    Raises:
        CanaryUnreached: a service does not answer.
    """
    documents = list(manifest.files_of("documents"))
    damaged = verify.find_flaws(documents, target.folders("documents").live)
    vectors = running_vectors(vectordb_url)
    checks = [
        Check.equal("documents", len(documents), len(documents) - len(damaged)),
        *_rows(target, manifest),
        *(Check.equal(f"vectors of {one.name}", one.vectors, vectors.get(one.name, 0)) for one in manifest.collections),
    ]
    found = canary.ask(api, manifest.canary)
    outcome = canary.agreement([question.nearest for question in manifest.canary], found)
    words = _in_words(target, manifest, api, operators)
    return {
        "passed": outcome.passed and words.get("passed", True) and all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
        "canary": {**outcome.to_json(), "retrieved": found},
        "golden": words,
        "damaged": damaged[: verify.NAMED],
    }


def _in_words(target: Target, manifest: Manifest, api: Api, operators: Sequence[Golden]) -> dict[str, Any]:
    if target.external_models:
        return {"skipped": "The models are on a server outside the stack, and a drill talks to nothing outside."}
    return golden.report(api, operators, manifest.golden)


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


def _rows(target: Target, manifest: Manifest) -> list[Check]:
    assert target.server is not None
    with target.server.connect(target.database) as connection:
        rows = connection.execute("SELECT name, value FROM backup_counts").fetchall()
    counts = {str(name): int(value) for name, value in rows}
    return [
        Check.not_less(f"{name} rows", manifest.counts[name], counts[name])
        for name in sorted(counts.keys() & manifest.counts)
    ]
