"""Making one backup set: preflight, prepare, freeze, dump, verify, commit. See DESIGN, "A backup set"."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from backups import fault, preflight, staging
from backups.errors import RepositoryLocked, SourceMissing
from backups.freeze import Frozen, frozen, removal_gate
from backups.job import Job
from backups.journal import Context
from backups.manifest import (
    DUMP,
    GLOBALS,
    SET_JSON,
    STAGED,
    ExternalModel,
    FileEntry,
    Manifest,
    Model,
    Question,
    SourceFigures,
)
from backups.manifest import Collection as ChromaCollection
from backups.repository import BackupOutcome, Repository
from backups.restic import PARTIAL_TAG
from backups.sources import config, documents, external, models, postgres, vectors
from backups.sources.postgres import Snapshot


def new_set_id(now: datetime) -> str:
    """A set's id: when it was made and six random digits, e.g. 20260131T020000Z-4f09ac."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def run(job: Job, context: Context) -> dict[str, Any]:
    """Make a set; returns the agent's result: `state` is complete or partial.

    Raises:
        BackupError: nothing was stored that could be taken for a set.
    """
    backup = Backup(job, context)
    try:
        return backup.run()
    finally:
        backup.tidy()


class Backup:
    """One run. Attributes are filled in the order of the steps."""

    def __init__(self, job: Job, context: Context) -> None:
        self._context, self._job, self._journal = context, job, context.journal
        self._stack = job.require_stack()
        volumes = self._stack.volumes
        self._documents, self._vectors = volumes.documents / "live", volumes.vectors / "live"
        self._models = volumes.models / "live"
        self._staging = job.work / STAGED
        self._scratch = job.work / "verify"
        self._repository = Repository(job.require_repository(), job.tools.restic, job.cache)
        self._dumper = postgres.Dumper(job.tools.pg_bin, self._stack.postgres)
        self.set_id = job.set_id or new_set_id(datetime.now(UTC))
        self._frozen: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        with self._context.step("preflight") as told:
            facts = preflight.check(self._job, self._repository)
            told.update(repository=facts.repository_id, staging_bytes=facts.staging_bytes)
        if earlier := self._stored_by_an_earlier_attempt():
            manifest, outcome, unstored = earlier
            return self._result(manifest, outcome, unstored, facts.repository_id)
        with ExitStack() as held:
            manifest = self._staged(held, facts)
            outcome, unstored = self._commit(manifest)
        return self._result(manifest, outcome, unstored, facts.repository_id)

    def tidy(self) -> None:
        """Remove what was staged: it is in the repository, or worth nothing."""
        for folder in (self._staging, self._scratch):
            shutil.rmtree(folder, ignore_errors=True)

    def _stored_by_an_earlier_attempt(self) -> tuple[Manifest, BackupOutcome, list[str]] | None:
        """The set, when an agent that was killed afterwards had stored it already; it is compared again."""
        begun = self._job.work / f"begun-{self.set_id}"
        if not begun.exists():
            # The first agent of a set need not ask the repository; each start of restic costs up to a second.
            begun.touch()
            return None
        found = self._repository.snapshots(tags=["ragkeep", f"set:{self.set_id}"], host=self._stack.host)
        if not found:
            return None
        with self._context.step("commit", resumed=True):
            snapshot = found[-1]
            manifest = Manifest.from_json(self._repository.dump(snapshot.id, SET_JSON))
            outcome = BackupOutcome(snapshot.id, snapshot.bytes_total, snapshot.bytes_added, snapshot.files)
            unstored = sorted(self._not_stored(manifest, snapshot.id))
            return manifest, self._marked(manifest, outcome, unstored), unstored

    def _staged(self, held: ExitStack, facts: preflight.Facts) -> Manifest:
        """Prepare, freeze, dump and verify; the removal gate stays with `held`."""
        with self._context.step("prepare"):
            warm = self._prepare()
        with ExitStack() as open_snapshot:
            with self._context.step("freeze") as told:
                held.enter_context(removal_gate(self._stack.postgres))
                moment, snapshot = open_snapshot.enter_context(self._freeze(warm))
                self._frozen = {
                    "freeze_ms": moment.milliseconds,
                    "attempt": moment.attempt,
                    "hnsw_copied": moment.hnsw_copied,
                    "taken_at": moment.taken_at.isoformat(),
                    "thawed_at": moment.thawed_at.isoformat(),
                }
                told.update(self._frozen)
            with self._context.step("dump"):
                tables = self._dump(snapshot)
            with self._context.step("verify") as told:
                manifest = self._verify(snapshot, moment, facts.versions, tables)
                told.update(missing=len(manifest.missing), questions=len(manifest.canary))
        return manifest

    def _prepare(self) -> vectors.WarmCopy:
        self.tidy()
        for name in ("vectors", "postgres", "models", "config"):
            (self._staging / name).mkdir(parents=True)
        config.stage(self._stack.config, self._staging / "config")
        warm = vectors.WarmCopy(self._vectors, self._staging / "vectors")
        warm.refresh()
        return warm

    def _freeze(self, warm: vectors.WarmCopy) -> contextlib.AbstractContextManager[tuple[Frozen, Snapshot]]:
        return frozen(
            self._stack.postgres,
            self._vectors,
            self._staging / "vectors",
            warm,
            manifests=lambda: {} if self._stack.has_external_models else models.take_manifests(self._models),
            fault=lambda: fault.reach("freeze"),
            log=lambda message: self._journal.log(message, "warning"),
        )

    def _dump(self, snapshot: Snapshot) -> dict[str, int]:
        """Dump the database as of the freeze; returns rows per table."""
        self._dumper.dump(snapshot.id, self._staging / DUMP)
        self._dumper.globals(self._staging / GLOBALS)
        return snapshot.rows_per_table()

    def _verify(
        self, snapshot: Snapshot, moment: Frozen, versions: Mapping[str, Any], tables: dict[str, int]
    ) -> Manifest:
        staging.demand_tables(self._dumper.listing(self._staging / DUMP), set(tables))
        collections, questions = self._verify_vectors(snapshot)
        kept, left_out, faulty_models = self._verify_models(moment.manifests)
        files, faulty_files = self._verify_documents(snapshot.files())
        missing = (*faulty_files, *faulty_models)
        entries = [*staging.staged_files(self._staging), *files, *_blob_entries(kept)]
        return Manifest(
            set_id=self.set_id,
            operation=self._job.operation,
            state="partial" if missing else "complete",
            stack=self._stack.name,
            environment=self._stack.environment,
            host=self._stack.host,
            taken_at=moment.taken_at,
            freeze_ms=moment.milliseconds,
            versions={"ragkeep": _own_version(), **versions},
            counts=snapshot.counts(),
            collections=tuple(collections),
            models=tuple(kept),
            sources=_figures(entries, tables, len(kept)),
            roots={"documents": str(self._documents), "models": str(self._models)},
            files=tuple(entries),
            canary=tuple(questions),
            missing=missing,
            left_out=tuple(left_out),
            external_models=self._external_models(),
        )

    def _verify_vectors(self, snapshot: Snapshot) -> tuple[list[ChromaCollection], list[Question]]:
        return staging.verify_vectors(
            self._staging / "vectors",
            self._scratch,
            snapshot.collections(),
            snapshot.chunks,
            lambda name, count: self._journal.progress("verify", None, {"vectors": count}, name),
        )

    def _verify_models(self, manifests: Mapping[str, bytes]) -> tuple[list[Model], list[str], list[str]]:
        """Stage the manifests whose blobs are whole; returns those models, the names of the deleted and the faulty."""
        kept: list[Model] = []
        left_out: list[str] = []
        faulty: list[str] = []
        for model in models.read_models(dict(manifests)):
            blobs = {
                f"blobs/{blob.file_name}": (blob.digest.removeprefix("sha256:"), blob.bytes) for blob in model.blobs
            }
            checked = self._verifier(self._models).check(blobs, lambda _: None)
            if not checked.faulty:
                kept.append(model)
                _write(self._staging / "models" / model.manifest, manifests[model.manifest])
            elif (self._models / model.manifest).exists():
                faulty += [f"model {model.name}: {path}: {wrong}" for path, wrong in checked.faulty.items()]
            else:
                left_out.append(model.name)
        return kept, left_out, faulty

    def _external_models(self) -> tuple[ExternalModel, ...] | None:
        """None when the stack keeps its models itself; a set is whole without the names of others' models."""
        if not self._stack.has_external_models:
            return None
        try:
            return external.read_models(self._stack.ollama_url)
        except SourceMissing as silent:
            self._journal.log(f"{silent.message}; the set does not name its models", "warning")
            return ()

    def _verify_documents(self, files: Mapping[str, tuple[str, int]]) -> tuple[list[FileEntry], list[str]]:
        """Prove every document; returns the entries of the whole ones and a line for each faulty one."""
        checked = self._verifier(self._documents).check(
            files, lambda done: self._journal.progress("verify", done / len(files), {"documents": done}, "documents")
        )
        entries = [FileEntry("documents", path, files[path][1], files[path][0]) for path in checked.whole]
        return entries, [f"document {path}: {wrong}" for path, wrong in checked.faulty.items()]

    def _verifier(self, folder: Path) -> documents.Verifier:
        return documents.Verifier(folder, self._job.cache / "verified.sqlite3")

    def _commit(self, manifest: Manifest) -> tuple[BackupOutcome, list[str]]:
        """One snapshot of everything; returns what restic did and the files that are not in it as they should be."""
        manifest.write(self._staging / "set.json")
        with self._context.step("commit") as told:
            outcome = self._store(manifest)
            unstored = sorted({*outcome.unread, *self._not_stored(manifest, outcome.snapshot_id)})
            outcome = self._marked(manifest, outcome, unstored)
            told.update(snapshot_id=outcome.snapshot_id, bytes_added=outcome.bytes_added)
        return outcome, unstored

    def _store(self, manifest: Manifest) -> BackupOutcome:
        try:
            return self._restic_backup(manifest)
        except RepositoryLocked:
            if not (cleared := self._repository.clear_dead_locks()):
                raise
            self._journal.log(f"cleared {len(cleared)} locks of processes that are gone", "warning")
            return self._restic_backup(manifest)

    def _restic_backup(self, manifest: Manifest) -> BackupOutcome:
        blobs = {models.blob_path(self._models, blob) for model in manifest.models for blob in model.blobs}
        tags = ["ragkeep", f"set:{self.set_id}", f"stack:{self._stack.name}"]
        return self._repository.backup(
            cwd=self._job.work,
            paths=[STAGED, str(self._documents)],
            files=sorted(blobs),
            tags=[*tags, PARTIAL_TAG] if manifest.state == "partial" else tags,
            host=self._stack.host,
            progress=self._show,
        )

    def _show(self, message: Mapping[str, Any]) -> None:
        if message.get("message_type") == "status":
            counts = {name: int(message.get(name, 0)) for name in ("files_done", "bytes_done", "total_bytes")}
            self._journal.progress("commit", float(message.get("percent_done", 0)), counts)

    def _not_stored(self, manifest: Manifest, snapshot_id: str) -> Iterator[str]:
        """Files of the manifest that the snapshot lacks or holds in another size."""
        stored = {
            str(n["path"]): int(n.get("size", 0)) for n in self._repository.ls(snapshot_id) if n["type"] == "file"
        }
        if SET_JSON not in stored:
            yield SET_JSON
        for entry in manifest.files:
            path = manifest.snapshot_path(entry)
            if stored.get(path) != entry.bytes:
                yield path

    def _marked(self, manifest: Manifest, outcome: BackupOutcome, unstored: list[str]) -> BackupOutcome:
        """Tag the snapshot as partial when its set.json says complete and yet files are not in it."""
        if not unstored or manifest.state == "partial":
            return outcome
        return replace(outcome, snapshot_id=self._repository.tag(outcome.snapshot_id, PARTIAL_TAG))

    def _result(
        self, manifest: Manifest, outcome: BackupOutcome, unstored: list[str], repository_id: str
    ) -> dict[str, Any]:
        figures = {
            name: {"files": found.files, "bytes": found.bytes, **found.details}
            for name, found in manifest.sources.items()
        }
        return {
            "state": "partial" if unstored else manifest.state,
            "set": self.set_id,
            "snapshot_id": outcome.snapshot_id,
            "repository_id": repository_id,
            "taken_at": manifest.taken_at.isoformat(),
            "freeze_ms": manifest.freeze_ms,
            "freeze": self._frozen,
            "seconds": dict(self._context.seconds),
            "bytes_total": outcome.bytes_total,
            "bytes_added": outcome.bytes_added,
            "counts": manifest.counts,
            "sources": figures,
            "versions": manifest.versions,
            "missing": [*manifest.missing, *unstored],
            "left_out": list(manifest.left_out),
            "questions": len(manifest.canary),
        }


def _figures(entries: list[FileEntry], tables: dict[str, int], model_count: int) -> dict[str, SourceFigures]:
    details: dict[str, dict[str, Any]] = {"postgres": {"tables": tables}, "models": {"models": model_count}}
    return {
        name: SourceFigures(
            files=sum(1 for entry in entries if entry.source == name),
            bytes=sum(entry.bytes for entry in entries if entry.source == name),
            details=details.get(name, {}),
        )
        for name in ("documents", "vectors", "models", "postgres", "config")
    }


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


def _own_version() -> str:
    try:
        return metadata.version("ragkeep")
    except metadata.PackageNotFoundError:
        return "0.1.0"
