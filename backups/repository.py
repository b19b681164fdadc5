"""A restic repository: one method per command, with exit statuses turned into typed errors."""

from __future__ import annotations

import errno
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from backups import place as places
from backups import reach, restic
from backups.errors import (
    CredentialsInvalid,
    RepositoryError,
    RepositoryExists,
    RepositoryFull,
    RepositoryKeyWrong,
    RepositoryLocked,
    RepositoryMissing,
    RepositoryOther,
    RepositoryUnreachable,
    ResticFailed,
    SourceUnreadable,
    ToolMissing,
    ToolTooOld,
)
from backups.job import Job, RepositoryPlace
from backups.limits import NONE, Limits, limited_argv, restic_environment
from backups.process import ProcessError, Running, run
from backups.restore.folders import empty_folder

MINIMUM = (0, 17, 0)

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class BackupOutcome:
    """What `restic backup` did. `unread`: files it could not read; bytes as restic counts them."""

    snapshot_id: str
    bytes_total: int
    bytes_added: int
    files: int
    unread: tuple[str, ...] = field(default=())


class Repository:
    """The repository of a job. Every method raises a RepositoryError (see backups.errors)."""

    def __init__(self, place: RepositoryPlace, tool: Path, cache: Path, limits: Limits = NONE) -> None:
        self.place = place
        self._limits = limits
        self._tool = tool
        self._cache = cache / "restic"
        self._folder = restic.local_folder(place.url)
        address = reach.address_of(place)
        self._options = places.restic_options(address.kind, place.options) if address else ()

    @classmethod
    def of(cls, job: Job) -> Self:
        """The repository of a job, which keeps to the job's limits.

        Raises:
            JobInvalid: the job names none.
        """
        return cls(job.require_repository(), job.tools.restic, job.cache, job.limits)

    @property
    def is_local(self) -> bool:
        """Whether it lies in a folder of this machine."""
        return self._folder is not None

    @property
    def is_limited(self) -> bool:
        """Whether downloads keep to a bandwidth, which each restic would take for itself."""
        return bool(self._limits.download_kib)

    def version(self) -> str:
        """restic's version.

        Raises:
            ToolMissing: it cannot be started.
            ToolTooOld: it is older than 0.17.
        """
        try:
            value = json.loads(run(restic.version_argv(self._tool), timeout=30).stdout)
        except (ProcessError, ValueError) as error:
            raise ToolMissing(f"restic does not start: {error}", "Run `manage.py doctor`.") from None
        version = str(value["version"])
        if tuple(int(part) for part in version.split("-")[0].split(".")) < MINIMUM:
            raise ToolTooOld(f"restic {version} is too old: 0.17 or later is needed", "Run `manage.py doctor`.")
        return version

    def open(self) -> str:
        """Prove that the repository is there, ours and opened by the password; returns its id.

        The place is asked first without restic, which would go on trying for a quarter of an hour.

        Raises:
            RepositoryOther: another repository than the known one lies there.
        """
        reach.demand(self.place)
        found = str(json.loads(self._text(restic.config_argv(self._tool)))["id"])
        if self.place.id and found != self.place.id:
            raise RepositoryOther(
                f"another repository lies at {self.place.url}: its id is {found[:8]}, {self.place.id[:8]} is known",
                expected=self.place.id,
                found=found,
            )
        return found

    def init(self) -> str:
        """Make a new repository and return its id; never over one that is there or was known.

        Raises:
            RepositoryExists: with the id in `data` when our password opens what is there.
        """
        self._refuse_known()
        if self._folder is not None:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
        made = next(iter(restic.messages(self._text(restic.init_argv(self._tool)).splitlines())), {})
        return str(made["id"])

    def keys(self) -> list[dict[str, Any]]:
        """The keys that open it: `id`, `current` (the one our password belongs to), `created`, ..."""
        found: list[dict[str, Any]] = json.loads(self._text(restic.keys_argv(self._tool)))
        return found

    def snapshots(self, *, tags: Sequence[str] = (), host: str | None = None) -> list[restic.Snapshot]:
        """The snapshots that carry all of `tags`, oldest first."""
        listed = json.loads(self._text(restic.snapshots_argv(self._tool, tags=tags, host=host)) or "[]")
        return sorted((restic.Snapshot.read(value) for value in listed), key=lambda snapshot: snapshot.time)

    def backup(
        self,
        *,
        cwd: Path,
        paths: Sequence[str],
        files: Sequence[Path],
        tags: Sequence[str],
        host: str,
        excludes: Sequence[str] = (),
        by_time: bool = False,
        progress: Progress = lambda _: None,
        again: Callable[[], object] = lambda: None,
    ) -> BackupOutcome:
        """Store one snapshot. `paths` relative to `cwd` keep that path in the snapshot; see restic.backup_argv.

        Args:
            again: done before restic starts once more because the line to the server broke.

        Raises:
            SourceUnreadable: restic stored nothing.
        """
        with tempfile.NamedTemporaryFile(dir=cwd, prefix="files-", suffix=".raw") as listed:
            listed.write(b"\0".join(os.fsencode(path) for path in files) + (b"\0" if files else b""))
            listed.flush()
            argv = restic.backup_argv(
                self._tool,
                paths=paths,
                files_from=Path(listed.name),
                tags=tags,
                host=host,
                excludes=excludes,
                by_time=by_time,
            )
            return reach.ridden_out(self.place, lambda: self._backed_up(argv, cwd, progress), again=again)

    def ls(self, snapshot: str) -> Iterator[Mapping[str, Any]]:
        """The nodes of a snapshot: `path`, `type` ("file", "dir"), `size`, ..."""
        with self._stream(restic.ls_argv(self._tool, snapshot)) as lines:
            yield from (m for m in lines if m.get("struct_type") == "node" or m.get("message_type") == "node")

    def dump(self, snapshot: str, path: str) -> str:
        """The text of one file of a snapshot."""
        return self._text(restic.dump_argv(self._tool, snapshot, path))

    def restore(
        self,
        snapshot: str,
        *,
        folder: str,
        target: Path,
        includes: Sequence[str] = (),
        progress: Progress = lambda _: None,
    ) -> None:
        """Restore what lies under `folder` into `target`, which must be empty. Where files cannot be given to who had
        them they belong to whoever restores.

        When the line to the server breaks, `target` is emptied and filled anew; not if it held something before.
        """
        argv = restic.restore_argv(self._tool, snapshot, folder=folder, target=target, includes=includes)
        runs = 1 if target.exists() and any(target.iterdir()) else reach.READINGS
        reach.ridden_out(
            self.place, lambda: self._restored(argv, progress), again=lambda: empty_folder(target), runs=runs
        )

    def stats(self) -> dict[str, Any]:
        """Bytes and snapshots: `total_size`, `total_uncompressed_size`, `snapshots_count`, ..."""
        found: dict[str, Any] = json.loads(self._text(restic.stats_argv(self._tool)))
        return found

    def tag(self, snapshot: str, add: str) -> str:
        """Add a tag and return the snapshot's new id."""
        for message in restic.messages(self._text(restic.tag_argv(self._tool, snapshot, add=add)).splitlines()):
            if message.get("new_snapshot_id"):
                return str(message["new_snapshot_id"])
        return snapshot

    def clear_dead_locks(self) -> list[restic.Lock]:
        """Remove locks whose owners are provably dead; returns those removed.

        In a folder each is removed by itself. Elsewhere restic can only clear all the locks it thinks stale, and would
        judge a live owner in another container by its process id here: so there nothing is cleared as long as one owner
        may be alive.
        """
        locks = self.locks()
        dead = [lock for lock in locks if owner_gone(lock)]
        if self._folder is not None:
            for lock in dead:
                (self._folder / "locks" / lock.id).unlink(missing_ok=True)
            return dead
        if not dead or len(dead) < len(locks):
            return []
        self._text(restic.unlock_argv(self._tool))
        return locks

    def locks(self) -> list[restic.Lock]:
        """The locks that lie in the repository, dead or alive."""
        if self._folder is not None and not any((self._folder / "locks").glob("*")):
            return []
        return [lock for name in self._lock_ids() if (lock := self._lock_or_none(name))]

    def _lock_or_none(self, name: str) -> restic.Lock | None:
        try:
            return self._lock(name)
        except ResticFailed:  # its owner let go of it between the two looks
            return None

    def _lock_ids(self) -> list[str]:
        words = self._text(restic.locks_argv(self._tool)).split()
        return [word for word in words if len(word) == 64]

    def _lock(self, name: str) -> restic.Lock:
        return restic.Lock.read(name, json.loads(self._text(restic.lock_argv(self._tool, name))))

    def _refuse_known(self) -> None:
        if self.place.id:
            raise RepositoryExists(
                f"the repository {self.place.id[:8]} is known at {self.place.url}: no new one is made in its place",
                "Mount the disk that holds it, or add a new repository under another name.",
            )
        try:
            found = self.open()
        except RepositoryMissing:
            return
        except RepositoryUnreachable:
            if self._folder is None:
                raise
            return
        except RepositoryKeyWrong:
            raise RepositoryExists(f"a repository with another password lies at {self.place.url}") from None
        raise RepositoryExists(f"a repository lies at {self.place.url} already", id=found)

    def _backed_up(self, argv: restic.Argv, cwd: Path, progress: Progress) -> BackupOutcome:
        summary: Mapping[str, Any] = {}
        with Running(limited_argv(self._placed(argv), self._limits), env=self._environment(), cwd=cwd) as running:
            for message in restic.messages(running.lines()):
                if message.get("message_type") == "summary":
                    summary = message
                progress(message)
            code = running.wait()
            complaints = restic.Complaints.read(running.stderr)
        if code not in (0, restic.EXIT_PARTIAL):
            raise self._failure(code, complaints)
        if not summary.get("snapshot_id"):
            raise SourceUnreadable("restic stored no snapshot although it reported no failure", items=complaints.items)
        return BackupOutcome(
            snapshot_id=str(summary["snapshot_id"]),
            bytes_total=int(summary.get("total_bytes_processed", 0)),
            bytes_added=int(summary.get("data_added_packed", summary.get("data_added", 0))),
            files=int(summary.get("total_files_processed", 0)),
            unread=complaints.items or (("(not named)",) if code else ()),
        )

    def _restored(self, argv: restic.Argv, progress: Progress) -> None:
        with self._stream(argv, unless=lambda complaints: complaints.about_owners) as lines:
            for message in lines:
                progress(message)

    def _text(self, argv: restic.Argv) -> str:
        """Run a command to its end and return its standard output."""
        try:
            done = run(limited_argv(self._placed(argv), self._limits), env=self._environment(), check=False)
        except ProcessError as error:
            raise ToolMissing(str(error), "Run `manage.py doctor`.") from None
        if done.returncode != 0:
            raise self._failure(done.returncode, restic.Complaints.read(done.stderr))
        return done.stdout

    @contextmanager
    def _stream(
        self, argv: restic.Argv, unless: Callable[[restic.Complaints], bool] = lambda _: False
    ) -> Iterator[Iterator[dict[str, Any]]]:
        with Running(limited_argv(self._placed(argv), self._limits), env=self._environment()) as running:
            yield iter(restic.messages(running.lines()))
            code = running.wait()
            complaints = restic.Complaints.read(running.stderr)
        if code != 0 and not unless(complaints):
            raise self._failure(code, complaints)

    def _placed(self, argv: restic.Argv) -> restic.Argv:
        return restic.placed(argv, self._options)

    def _environment(self) -> dict[str, str]:
        self._cache.mkdir(parents=True, exist_ok=True)
        if not os.access(self.place.password_file, os.R_OK):
            raise CredentialsInvalid(
                f"the password file {self.place.password_file} is missing or may not be read",
                "Put the repository's password there; without it nobody reads the sets.",
            )
        credentials = places.read_credentials(self.place.credentials_file)
        found = restic.environment(self.place.url, self.place.password_file, self._cache, credentials=credentials)
        return {**found, **restic_environment(self._limits)}

    def _failure(self, code: int, complaints: restic.Complaints) -> RepositoryError:
        """The typed error; where restic's status leaves it open, the place itself is asked."""
        found = failure(code, complaints.fatal, url=self.place.url, folder_there=self._folder_there())
        if isinstance(found, ResticFailed | RepositoryMissing):
            return reach.trouble(self.place) or found
        return found

    def _folder_there(self) -> bool:
        return self._folder is None or self._folder.is_dir()


def failure(code: int, fatal: str, *, url: str, folder_there: bool) -> RepositoryError:
    """The typed error for a failed restic: by exit status, and for a full disk by the kernel's own words."""
    if not folder_there:
        return RepositoryUnreachable(f"the folder of the repository, {url}, is not there")
    if code == restic.EXIT_NO_REPOSITORY:
        return RepositoryMissing(f"there is no repository at {url}")
    if code == restic.EXIT_LOCKED:
        return RepositoryLocked(f"the repository at {url} is in use by another program")
    if code == restic.EXIT_WRONG_PASSWORD:
        return RepositoryKeyWrong(f"the password does not open the repository at {url}")
    if any(os.strerror(number).lower() in fatal.lower() for number in (errno.ENOSPC, errno.EDQUOT)):
        return RepositoryFull(f"no space is left for the repository at {url}")
    return ResticFailed(f"restic failed (status {code}): {fatal}", "Read the operation's log; then start it again.")


def owner_gone(lock: restic.Lock, *, hostname: str | None = None, proc: Path = Path("/proc")) -> bool:
    """Whether the owner of a lock is provably dead: it ran on this host, and its process id is free or reused."""
    if lock.hostname != (socket.gethostname() if hostname is None else hostname):
        return False
    try:
        name, _, rest = (proc / str(lock.pid) / "stat").read_text().rpartition(")")
        return "restic" not in name or rest.split()[:1] == ["Z"]  # a zombie holds nothing any more
    except (FileNotFoundError, ProcessLookupError):
        return True
