"""Making one backup set: preflight, prepare, freeze, dump, verify, commit. See DESIGN, "A backup set"."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from backups import anomalies, golden, listing, preflight, staging, trees
from backups.commit import Commit, Stored
from backups.errors import BackupError, FencedOff, SpaceShort
from backups.freeze import Frozen, removal_gate
from backups.furtherparts import FurtherParts
from backups.job import Job
from backups.journal import Context
from backups.limits import in_background, lower, lowered
from backups.manifest import MISSING_NAMED, STAGED, FileEntry, Manifest, SourceFigures
from backups.repository import Repository
from backups.seconds import SourceSeconds
from backups.sources.postgres import Snapshot
from backups.stackparts import Proven, StackParts

# With less than this left, whatever failed failed for want of space.
FULL_BYTES = 4 << 20


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
        self._context, self._job = context, job
        self._standing_back = in_background(job.limits)
        self._stack = job.require_stack()
        self._staging = job.work / STAGED
        self._seconds = SourceSeconds()
        self._own = StackParts(job, context.journal, self._staging, self._seconds)
        self._further = FurtherParts(job, self._staging, self._seconds)
        self._repository = Repository(job.require_repository(), job.tools.restic, job.cache, job.limits)
        self._commit = Commit(job, context.journal, self._repository)
        self.set_id = job.set_id or new_set_id(datetime.now(UTC))
        self._frozen: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        with self._context.step("preflight") as told:
            facts = preflight.check(self._job, self._repository, self._further)
            told.update(repository=facts.repository_id, staging_bytes=facts.staging_bytes)
        stored = self._stored_by_an_earlier_attempt()
        if stored is None:
            with ExitStack() as held:
                stored = self._stored(self._staged(held, facts))
        return self._result(stored, facts.repository_id)

    def tidy(self) -> None:
        """Let go of the sources and remove what was staged: it is in the repository, or worth nothing."""
        self._further.close()
        self._sweep()

    def _sweep(self) -> None:
        for folder in (self._staging, self._job.work / "verify"):
            shutil.rmtree(folder, ignore_errors=True)

    def _stored_by_an_earlier_attempt(self) -> Stored | None:
        begun = self._job.work / f"begun-{self.set_id}"
        if not begun.exists():
            # The first agent of a set need not ask the repository; each start of restic costs up to a second.
            begun.touch()
            return None
        found = self._commit.stored_by_an_earlier_attempt(self.set_id)
        if found is not None:
            with self._context.step("commit", resumed=True) as told:
                told["snapshot_id"] = found.outcome.snapshot_id
        return found

    def _staged(self, held: ExitStack, facts: preflight.Facts) -> Manifest:
        """Prepare, freeze, dump and verify; the removal gate stays with `held`."""
        with self._context.step("prepare"), self._space():
            self._sweep()
            lowered(self._standing_back, self._context.journal.log, self._own.prepare)
            self._further.prepare()
        with ExitStack() as open_snapshot:
            with self._context.step("freeze") as told, self._space():
                held.enter_context(removal_gate(self._stack.postgres))
                moment, snapshot = open_snapshot.enter_context(self._own.freeze(self._further.freeze))
                self._frozen = _frozen(moment)
                told.update(self._frozen)
            lower(self._standing_back, self._context.journal.log)
            with self._context.step("dump"), self._space():
                self._further.dump()
                self._own.dump(snapshot)
            with self._context.step("verify") as told, self._space():
                self._further.verify()
                proven = self._own.verify(snapshot, moment.manifests)
                manifest = self._manifest(moment, snapshot, proven, facts.versions)
                if "documents" in self._own.chosen:
                    names = trees.names_written(snapshot.documents())
                    (self._staging / trees.NAMES).write_text(names, encoding="ascii")
                told.update(missing=len(manifest.missing), questions=len(manifest.canary))
        return manifest

    def _manifest(self, moment: Frozen, snapshot: Snapshot, proven: Proven, versions: dict[str, Any]) -> Manifest:
        staged = staging.staged_files(self._staging)
        entries = [*staged, *proven.entries]
        missing = (*proven.missing, *self._further.missing)
        self._commit.by_time = self._keep_times(staged, whole=not missing)
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
            collections=tuple(proven.collections),
            models=tuple(proven.models),
            sources=self._figures(entries, proven),
            roots=self._roots(),
            files=tuple(entries),
            canary=tuple(proven.questions),
            missing=missing,
            left_out=tuple(proven.left_out),
            external_models=proven.external_models,
            chosen=self._job.sources,
            pullable=tuple(proven.pullable),
            extra=self._further.extras(),
            anomalies=tuple(anomalies.of_collections(proven.collections)),
            golden=tuple(golden.choose(snapshot)) if self._job.sources is None else (),
        )

    def _keep_times(self, staged: list[FileEntry], *, whole: bool) -> bool:
        """Whether restic may take a file with the time it had in the last set for the same.

        Never after a set that was not whole: what was damaged then may have been put right under its old time.
        """
        remembered = self._job.cache / f"staged-{self._stack.host}.json"
        if not whole:
            remembered.unlink(missing_ok=True)
            return False
        return staging.keep_times(self._staging, staged, remembered) > 0

    def _figures(self, entries: list[FileEntry], proven: Proven) -> dict[str, SourceFigures]:
        figures = {
            name: SourceFigures(
                files=sum(1 for entry in entries if entry.source == name),
                bytes=sum(entry.bytes for entry in entries if entry.source == name),
                details=proven.details.get(name, {}),
            )
            for name in (*self._own.chosen, *self._further.parts)
        }
        for name, part in self._further.parts.items():
            told = figures[name]
            figures[name] = SourceFigures(told.files + part.live_files, told.bytes + part.live_bytes, part.details)
        return figures

    def _roots(self) -> dict[str, str]:
        """Where restic read in place."""
        own = {"documents": self._own.documents, "models": self._own.models}
        live = {name: str(path) for name, path in self._further.live.items()}
        return {name: str(path) for name, path in own.items() if name in self._own.chosen} | live

    def _stored(self, manifest: Manifest) -> Stored:
        """One snapshot of everything."""
        manifest.write(self._staging / "set.json")
        self._commit.live = self._further.live
        with self._context.step("commit") as told:
            stored = self._commit.store(manifest)
            told.update(snapshot_id=stored.outcome.snapshot_id, bytes_added=stored.outcome.bytes_added)
        if not self._further.live:  # whose files only restic has seen
            listing.leave(self._job, manifest, stored.unstored, self._context.journal.log)
        return stored

    @contextmanager
    def _space(self) -> Iterator[None]:
        """Tell a full disk from what it makes fail.

        Raises:
            SpaceShort: the disk of the staging is full.
        """
        try:
            yield
        except FencedOff:
            raise
        except (BackupError, OSError) as error:
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            if full or shutil.disk_usage(self._job.work).free < FULL_BYTES:
                raise SpaceShort(f"the disk of the staging under {self._job.work} ran full") from None
            raise

    def _result(self, stored: Stored, repository_id: str) -> dict[str, Any]:
        manifest, outcome = stored.manifest, stored.outcome
        missing = stored.missing
        return {
            "state": stored.state,
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
            "sources": self._told_of_sources(stored),
            "versions": manifest.versions,
            "missing": missing,
            "left_out": list(manifest.left_out),
            "questions": len(manifest.canary),
            "anomalies": [{"code": a.code, "source": a.source, "message": a.message} for a in manifest.anomalies],
            "detail": {**manifest.detail(), "missing": missing[:MISSING_NAMED], "missing_count": len(missing)},
        }

    def _told_of_sources(self, stored: Stored) -> dict[str, dict[str, Any]]:
        errors = stored.errors()
        return {
            name: {
                **figures,
                "bytes_added": stored.added.get(name, 0),
                "seconds": self._seconds[name],
                "errors": errors[name],
            }
            for name, figures in stored.manifest.figures().items()
        }


def _frozen(moment: Frozen) -> dict[str, Any]:
    return {
        "freeze_ms": moment.milliseconds,
        "attempt": moment.attempt,
        "hnsw_copied": moment.hnsw_copied,
        "taken_at": moment.taken_at.isoformat(),
        "thawed_at": moment.thawed_at.isoformat(),
    }


def _own_version() -> str:
    try:
        return metadata.version("ragkeep")
    except metadata.PackageNotFoundError:
        return "0.1.0"
