"""Storing a staged set: one `restic backup` of everything, and the proof that everything is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backups.errors import RepositoryError, RepositoryLocked
from backups.job import Job
from backups.journal import Journal
from backups.maintenance import Maintenance
from backups.manifest import SET_JSON, STAGED, Manifest
from backups.repository import BackupOutcome, Repository
from backups.restic import CHOSEN_TAG, PARTIAL_TAG, Snapshot
from backups.sources import models
from backups.sources.further import EXTRA


@dataclass(frozen=True, slots=True)
class Stored:
    """A set in the repository. `unstored`: what is not in it as it should be; `added`: new bytes of each source."""

    manifest: Manifest
    outcome: BackupOutcome
    unstored: tuple[str, ...]
    added: dict[str, int]

    @property
    def state(self) -> str:
        return "partial" if self.unstored else self.manifest.state

    @property
    def missing(self) -> list[str]:
        return [*self.manifest.missing, *self.unstored]

    def errors(self) -> Counter[str]:
        """How many lines of `missing` belong to each source."""
        return Counter(source_of(line, self.manifest) for line in self.missing)


class Commit:
    """Stores the sets of one job.

    Attributes:
        live: folders of further sources that restic reads in place.
        by_time: staged files carry the times of the last set where they did not change, see staging.keep_times.
    """

    def __init__(self, job: Job, journal: Journal, repository: Repository) -> None:
        self._job, self._journal, self._repository = job, journal, repository
        self._stack = job.require_stack()
        self._added: Counter[str] = Counter()
        self.live: dict[str, Path] = {}
        self.by_time = False

    def store(self, manifest: Manifest) -> Stored:
        """Store what is staged, and compare what restic then lists with set.json.

        Raises:
            RepositoryError: nothing was stored that could be taken for a set.
        """
        outcome = self._store(manifest)
        unstored = {*outcome.unread, *self._not_stored(manifest, outcome.snapshot_id)}
        return self._judged(manifest, outcome, unstored)

    def stored_by_an_earlier_attempt(self, set_id: str) -> Stored | None:
        """The set, when an agent that was killed afterwards had stored it already; it is compared again."""
        tags = ["ragkeep", f"set:{set_id}"]
        found = self._repository.snapshots(tags=tags, host=self._stack.host)
        return self._found(found[-1]) if found else None

    def _found(self, snapshot: Snapshot) -> Stored:
        manifest = Manifest.from_json(self._repository.dump(snapshot.id, SET_JSON))
        outcome = BackupOutcome(snapshot.id, snapshot.bytes_total, snapshot.bytes_added, snapshot.files)
        return self._judged(manifest, outcome, set(self._not_stored(manifest, snapshot.id)))

    def _judged(self, manifest: Manifest, outcome: BackupOutcome, unstored: set[str]) -> Stored:
        """Tag the snapshot as partial when its set.json says complete and yet files are not in it."""
        if unstored and manifest.state == "complete":
            outcome = replace(outcome, snapshot_id=self._repository.tag(outcome.snapshot_id, PARTIAL_TAG))
        return Stored(manifest, outcome, tuple(sorted(unstored)), dict(self._added))

    def _store(self, manifest: Manifest) -> BackupOutcome:
        self._reuse_what_a_killed_restic_left()
        try:
            outcome = self._restic_backup(manifest)
        except RepositoryLocked:
            if not (cleared := self._repository.clear_dead_locks()):
                raise
            self._journal.log(f"cleared {len(cleared)} locks of processes that are gone", "warning")
            outcome = self._restic_backup(manifest)
        self._mark.unlink(missing_ok=True)
        return outcome

    @property
    def _mark(self) -> Path:
        """There from before restic stores something until it has said that it is stored."""
        return self._job.cache / f"storing-{self._repository.place.id[:16] or 'new'}-{self._stack.host}"

    def _reuse_what_a_killed_restic_left(self) -> None:
        if self._mark.exists():
            self._reuse_what_was_sent()
        else:
            self._mark.touch()

    def _go_on(self) -> None:
        self._journal.log("the line to the repository broke and is back: storing goes on", "warning")
        self._reuse_what_was_sent()

    def _reuse_what_was_sent(self) -> None:
        """A restic that ended early leaves packs that no index names: named again, they need not be sent again."""
        try:
            self._repository.clear_dead_locks()
            Maintenance.of(self._job).repair_index()
        except RepositoryError as busy:
            self._journal.log(f"what an interrupted backup left is not reused: {busy.message}", "warning")

    def _restic_backup(self, manifest: Manifest) -> BackupOutcome:
        self._added.clear()
        blobs = {models.blob_path(self._stack.volumes.models / "live", b) for m in manifest.models for b in m.blobs}
        return self._repository.backup(
            cwd=self._job.work,
            paths=[STAGED, *self._folders(manifest)],
            files=sorted(blobs),
            tags=self._tags(manifest),
            host=self._stack.host,
            # Of folders that others write to nothing is assumed.
            by_time=self.by_time and not self.live,
            progress=lambda message: self._told(message, manifest),
            again=self._go_on,
        )

    def _folders(self, manifest: Manifest) -> Sequence[str]:
        """The folders that restic reads in place."""
        documents = [manifest.roots["documents"]] if "documents" in manifest.roots else []
        return [*documents, *(str(path) for path in self.live.values())]

    def _tags(self, manifest: Manifest) -> list[str]:
        tags = ["ragkeep", f"set:{manifest.set_id}", f"stack:{self._stack.name}"]
        tags += [PARTIAL_TAG] if manifest.state == "partial" else []
        return tags + ([CHOSEN_TAG] if manifest.chosen is not None else [])

    def _told(self, message: Mapping[str, Any], manifest: Manifest) -> None:
        kind = message.get("message_type")
        if kind == "status":
            counts = {name: int(message.get(name, 0)) for name in ("files_done", "bytes_done", "total_bytes")}
            self._journal.progress("commit", float(message.get("percent_done", 0)), counts)
        elif kind == "verbose_status" and (size := int(message.get("data_size_in_repo", 0))):
            self._added[source_of(str(message.get("item", "")), manifest)] += size

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


def source_of(what: str, manifest: Manifest) -> str:
    """The source that a path in the snapshot, or a line of `missing`, belongs to; empty when it is none's."""
    for prefix, name in (("document ", "documents"), ("model ", "models")):
        if what.startswith(prefix):
            return name
    for name, root in manifest.roots.items():
        if what == root or what.startswith(f"{root.rstrip('/')}/"):
            return name
    words = [word for word in what.partition(f"/{STAGED}/")[2].split("/") if word]
    words = words[1:] if words[:1] == [EXTRA] else words
    name = words[0] if words else what.partition(":")[0]
    return name if name in manifest.sources else ""
