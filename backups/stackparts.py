"""The five sources that every stack has, as far as a set takes them: staged, pinned together, proven."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backups import fault, staging
from backups.errors import SourceMissing
from backups.extra import OWN_SOURCES
from backups.freeze import Frozen, frozen
from backups.job import Job
from backups.journal import Journal
from backups.manifest import DUMP, GLOBALS, Collection, ExternalModel, FileEntry, Model, Question
from backups.seconds import SourceSeconds
from backups.sources import config, documents, external, models, postgres, vectors
from backups.sources.postgres import Snapshot


@dataclass(slots=True)
class Proven:
    """What the five sources add to a set. `tables`: rows per table; `details`: figures of its own for each source."""

    entries: list[FileEntry] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    collections: list[Collection] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    pullable: list[Model] = field(default_factory=list)
    external_models: tuple[ExternalModel, ...] | None = None
    details: dict[str, dict[str, Any]] = field(default_factory=dict)


class StackParts:
    """The five sources of one set. `chosen`: the names of those it takes."""

    def __init__(self, job: Job, journal: Journal, folder: Path, seconds: SourceSeconds) -> None:
        self._job, self._journal, self._staging, self._seconds = job, journal, folder, seconds
        self._stack = job.require_stack()
        volumes = self._stack.volumes
        self.documents, self.vectors = volumes.documents / "live", volumes.vectors / "live"
        self.models = volumes.models / "live"
        self.chosen = tuple(name for name in OWN_SOURCES if job.sources is None or name in job.sources)
        self._dumper = postgres.Dumper(job.tools.pg_bin, self._stack.postgres)
        self._warm = vectors.WarmCopy(self.vectors, folder / "vectors")
        self._tables: dict[str, int] = {}

    def prepare(self) -> None:
        """Copy ahead of the freeze what is large or does not change."""
        for name in ("vectors", "postgres", "models", "config"):
            (self._staging / name).mkdir(parents=True)
        if "config" in self.chosen:
            with self._seconds.of("config"):
                config.stage(self._stack.config, self._staging / "config")
        if "vectors" in self.chosen:
            with self._seconds.of("vectors"):
                self._warm.refresh(gently=True)

    @contextmanager
    def freeze(self, inside: Callable[[], None]) -> Iterator[tuple[Frozen, Snapshot]]:
        """Pin all stores at one moment; the block reads them. `inside` pins what else there is.

        Without the vectors nobody has to wait: the database's snapshot is the moment, and documents are written once.
        """

        def manifests() -> dict[str, bytes]:
            inside()
            return self._manifests()

        if "vectors" in self.chosen:
            with frozen(
                self._stack.postgres,
                self.vectors,
                self._staging / "vectors",
                self._warm,
                manifests=manifests,
                fault=lambda: fault.reach("freeze"),
                log=lambda message: self._journal.log(message, "warning"),
            ) as pinned:
                yield pinned
        else:
            with postgres.snapshot(self._stack.postgres) as snapshot:
                snapshot.export()
                taken_at = datetime.now(UTC)
                yield Frozen(taken_at, taken_at, 0.0, 1, 0, manifests()), snapshot

    def dump(self, snapshot: Snapshot) -> None:
        """Dump the database as of the freeze."""
        if "postgres" in self.chosen:
            with self._seconds.of("postgres"):
                self._dumper.dump(snapshot.id, self._staging / DUMP)
                self._dumper.globals(self._staging / GLOBALS)
                self._tables = snapshot.rows_per_table()

    def verify(self, snapshot: Snapshot, manifests: Mapping[str, bytes]) -> Proven:
        """Prove everything that was taken. Models come last: what is deleted meanwhile is still noticed.

        Raises:
            StagingInvalid, SourceUnreadable
        """
        proven = Proven(external_models=self._external_models())
        proofs: dict[str, Callable[[], None]] = {
            "postgres": lambda: self._prove_dump(proven),
            "vectors": lambda: self._prove_vectors(snapshot, proven),
            "documents": lambda: self._prove_documents(snapshot.files(), proven),
            "models": lambda: self._prove_models(manifests, proven),
        }
        for name, prove in proofs.items():
            if name in self.chosen:
                with self._seconds.of(name):
                    prove()
        return proven

    def _manifests(self) -> dict[str, bytes]:
        if "models" not in self.chosen or self._stack.has_external_models:
            return {}
        return models.take_manifests(self.models)

    def _prove_dump(self, proven: Proven) -> None:
        postgres.demand_rows(self._dumper.rows(self._staging / DUMP), self._tables)
        proven.details["postgres"] = {"tables": self._tables}

    def _prove_vectors(self, snapshot: Snapshot, proven: Proven) -> None:
        proven.collections, proven.questions = staging.verify_vectors(
            self._staging / "vectors",
            self._job.work / "verify",
            snapshot.collections(),
            snapshot.chunks,
            lambda name, count: self._journal.progress("verify", None, {"vectors": count}, name),
        )

    def _prove_documents(self, files: Mapping[str, tuple[str, int]], proven: Proven) -> None:
        """Entries of the whole documents, and a line for each faulty one."""
        checked = self._verifier(self.documents).check(
            files, lambda done: self._journal.progress("verify", done / len(files), {"documents": done}, "documents")
        )
        proven.entries += [FileEntry("documents", path, files[path][1], files[path][0]) for path in checked.whole]
        proven.missing += [f"document {path}: {wrong}" for path, wrong in checked.faulty.items()]

    def _prove_models(self, manifests: Mapping[str, bytes], proven: Proven) -> None:
        """Stage the manifests whose blobs are whole; name those that can be pulled again, the deleted, the faulty."""
        for model in models.read_models(dict(manifests)):
            if any(fnmatch.fnmatchcase(model.name, pattern) for pattern in self._stack.pullable):
                proven.pullable.append(model)
                continue
            faults = self._faults_of(model)
            if not faults:
                proven.models.append(model)
                _write(self._staging / "models" / model.manifest, manifests[model.manifest])
            elif (self.models / model.manifest).exists():
                proven.missing += faults
            else:
                proven.left_out.append(model.name)
        proven.entries += _blob_entries(proven.models)
        proven.details["models"] = {"models": len(proven.models)}

    def _faults_of(self, model: Model) -> list[str]:
        blobs = {f"blobs/{blob.file_name}": (blob.digest.removeprefix("sha256:"), blob.bytes) for blob in model.blobs}
        checked = self._verifier(self.models).check(blobs, lambda _: None)
        return [f"model {model.name}: {path}: {wrong}" for path, wrong in checked.faulty.items()]

    def _external_models(self) -> tuple[ExternalModel, ...] | None:
        """None when the stack keeps its models itself; a set is whole without the names of others' models."""
        if not self._stack.has_external_models:
            return None
        try:
            return external.read_models(self._stack.ollama_url)
        except SourceMissing as silent:
            self._journal.log(f"{silent.message}; the set does not name its models", "warning")
            return ()

    def _verifier(self, folder: Path) -> documents.Verifier:
        return documents.Verifier(folder, self._job.cache / "verified.sqlite3")


def _blob_entries(kept: list[Model]) -> list[FileEntry]:
    """Blobs that several models share are listed once."""
    blobs = {blob.digest: blob for model in kept for blob in model.blobs}
    return [
        FileEntry("models", f"blobs/{blob.file_name}", blob.bytes, blob.digest.removeprefix("sha256:"))
        for blob in blobs.values()
    ]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
