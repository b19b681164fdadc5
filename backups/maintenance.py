"""The commands that keep a repository healthy; see backups.repository for the everyday ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import quote

from backups import reach, restic, restic_upkeep
from backups.errors import CredentialsInvalid, RepositoryError, RepositoryLocked, ResticFailed
from backups.job import RepositoryPlace
from backups.limits import NONE, Limits, limited_argv
from backups.place import REST, SFTP, Address, read_credentials, restic_options
from backups.process import ByteStream, Running
from backups.repository import Repository, owner_gone
from backups.restic_upkeep import Findings

STDERR_LINES = 20_000
LOCK_SECONDS = 600.0
_LOCK_POLL_SECONDS = 1.0
# What one command line can carry.
_BATCH = 5_000

Found = Callable[[list[restic.Lock]], None]


class _DamageSeen(ResticFailed):
    """What `check` complains about: damage, unless the line broke."""

    def __init__(self, findings: Findings) -> None:
        super().__init__(findings.errors[0])
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command that ended printed."""

    code: int
    stdout: str
    stderr: str


class Maintenance(Repository):
    """The repository of a job under maintenance. `source`: another one to copy from."""

    def __init__(
        self,
        place: RepositoryPlace,
        tool: Path,
        cache: Path,
        limits: Limits = NONE,
        *,
        source: RepositoryPlace | None = None,
    ) -> None:
        super().__init__(place, tool, cache, limits)
        self._source = source
        if source is not None:
            self._options = options_of_both(place, source)
        self._extra = {**restic_upkeep.LOW_MEMORY, **(source_environment(place, source) if source else {})}

    def check(self, *, part: int, parts: int) -> Findings:
        """Check the structure and slice `part` of `parts` of the data. Damage is an answer, not an error.

        A line to the server that broke looks like damage: what may have been that is looked at twice.
        """
        argv = restic_upkeep.check_argv(self._tool, part=part, parts=parts)
        try:
            return reach.ridden_out(
                self.place, lambda: self._checked(argv), again=self.free_from_locks, runs=reach.READINGS
            )
        except _DamageSeen as damage:
            self.open()
            return damage.findings

    def _checked(self, argv: restic.Argv) -> Findings:
        done = self._ended(argv)
        found = Findings.read(done.stdout, done.stderr)
        if done.code == 0:
            return found
        if done.code == 1 and found.errors:
            raise _DamageSeen(found)
        raise self._failure(done.code, restic.Complaints.read(done.stderr))

    def sets(self) -> dict[str, restic.Snapshot]:
        """The snapshot of each set, a whole one before a partial one, as they lie in the repository and not in the
        cache."""
        listed = json.loads(self._demand(restic_upkeep.snapshots_argv(self._tool)).stdout or "[]")
        found = sorted(map(restic.Snapshot.read, listed), key=lambda snapshot: not snapshot.partial)
        return {snapshot.set_id: snapshot for snapshot in found if snapshot.set_id}

    def affected(self, findings: Findings) -> set[str]:
        """The ids of the snapshots that need what is damaged; all of them while the index cannot be read."""
        if findings.index_damaged:
            return {snapshot.id for snapshot in self.snapshots()}
        trees = {*findings.trees, *self._trees_in(findings.packs)}
        wanted = {"pack": findings.packs, "tree": sorted(trees), "blob": findings.blobs}
        return {name for kind, ids in wanted.items() for name in self._needing(kind, ids)}

    def forget(self, snapshots: Sequence[str]) -> None:
        """Remove snapshots; who is gone already is no error. Look afterwards: restic is silent about refusals."""
        there = {snapshot.id for snapshot in self.snapshots()}
        for batch in _batches([wanted for wanted in snapshots if wanted in there]):
            self._demand(restic_upkeep.forget_argv(self._tool, batch))

    def prune(self, *, repack_bytes: int | None = None, recover: bool = False) -> str:
        """Remove what no snapshot needs; returns restic's own account.

        Args:
            recover: free space where nothing can be written any more; unsafe when it is interrupted.
        """
        known = self.open() if recover else ""
        return self._demand(restic_upkeep.prune_argv(self._tool, repack_bytes=repack_bytes, recover=known)).stdout

    def pack_ids(self) -> set[str]:
        """The packs that are really there."""
        return set(self._demand(restic_upkeep.list_argv(self._tool, "packs")).stdout.split())

    def repair_index(self) -> None:
        self._demand(restic_upkeep.repair_index_argv(self._tool))

    def repair_packs(self, packs: Sequence[str], *, keep: Path) -> None:
        """Save what is whole in these packs; the damaged files themselves are copied into the folder `keep`."""
        for batch in _batches(packs):
            self._demand(restic_upkeep.repair_packs_argv(self._tool, batch), cwd=keep)

    def repair_snapshots(self, snapshots: Sequence[str]) -> None:
        """Replace these snapshots by ones without what is lost."""
        for batch in _batches(snapshots):
            self._demand(restic_upkeep.repair_snapshots_argv(self._tool, batch))

    def init_from(self) -> str:
        """Make a repository to copy the source into, and return its id; one that is ours already is taken as it is."""
        try:
            return self.open()
        except RepositoryError as missing:
            if missing.code not in ("repository_missing", "repository_unreachable") or self.place.id:
                raise
        if self._folder is not None:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._demand(restic_upkeep.init_from_argv(self._tool), making=True)
        return self.open()

    def copy(self, snapshots: Sequence[str]) -> None:
        """Copy snapshots of the source that are not here yet; either end may be away for a while."""
        for batch in _batches(snapshots):
            argv = restic_upkeep.copy_argv(self._tool, batch)
            reach.ridden_out(self._source or self.place, partial(self._copied, argv))

    def _copied(self, argv: restic.Argv) -> None:
        reach.ridden_out(self.place, lambda: self._demand(argv))

    @contextmanager
    def archive(self, snapshot: str) -> Iterator[IO[bytes]]:
        """All of a snapshot as a tar archive, read from the repository and not from the cache.

        Raises:
            RepositoryError: when the block ends: something of it could not be read.
        """
        argv = limited_argv(self._placed(restic_upkeep.archive_argv(self._tool, snapshot)), self._limits)
        with ByteStream(argv, env=self._environment()) as stream:
            yield stream.stdout
            code = stream.wait()
            complaints = restic.Complaints.read(stream.stderr)
        if code != 0:
            raise self._failure(code, complaints)

    def free_from_locks(self, *, seconds: float = LOCK_SECONDS, waiting: Found = lambda _: None) -> list[restic.Lock]:
        """Clear locks whose owners are provably dead, and wait for those that may be alive; returns the cleared.

        Args:
            waiting: told once which locks are waited for.

        Raises:
            RepositoryLocked: somebody still holds one after `seconds`.
        """
        end, told = time.monotonic() + seconds, False
        while True:
            locks = self.locks()
            alive = [lock for lock in locks if not owner_gone(lock)]
            if not alive:
                return self.clear_dead_locks() if locks else []
            if time.monotonic() >= end:
                raise self._held(alive)
            if not told:
                waiting(alive)
                told = True
            time.sleep(_LOCK_POLL_SECONDS)

    def _held(self, locks: Sequence[restic.Lock]) -> RepositoryLocked:
        first = locks[0]
        return RepositoryLocked(
            f"the repository at {self.place.url} is held by process {first.pid} on {first.hostname} "
            f"since {first.time:%Y-%m-%d %H:%M}",
            "Wait until that program has ended. If its machine is gone for good, `restic unlock --remove-all` lets go.",
            locks=[{"host": lock.hostname, "pid": lock.pid, "since": lock.time.isoformat()} for lock in locks],
        )

    def _needing(self, kind: str, ids: Sequence[str]) -> set[str]:
        found = set[str]()
        for batch in _batches(ids):
            done = self._ended(restic_upkeep.find_argv(self._tool, kind, batch))
            found |= restic_upkeep.snapshots_named(done.stdout)
            if done.code not in (0, 1):
                raise self._failure(done.code, restic.Complaints.read(done.stderr))
        return found

    def _trees_in(self, packs: Sequence[str]) -> set[str]:
        if not packs:
            return set()
        indexes = self._demand(restic_upkeep.list_argv(self._tool, "index")).stdout.split()
        texts = (self._demand(restic_upkeep.index_argv(self._tool, index)).stdout for index in indexes)
        return {tree for text in texts for tree in restic_upkeep.pack_trees(text, packs)}

    def _demand(self, argv: restic.Argv, *, cwd: Path | None = None, making: bool = False) -> Printed:
        """Run a command that must succeed. `making`: the folder need not be there yet."""
        done = self._ended(argv, cwd)
        if done.code != 0:
            complaints = restic.Complaints.read(done.stderr)
            raise ResticFailed(complaints.fatal) if making else self._failure(done.code, complaints)
        return done

    def _ended(self, argv: restic.Argv, cwd: Path | None = None) -> Printed:
        """Run a command to its end; unlike a short one it dies with us."""
        words = limited_argv(self._placed(argv), self._limits)
        with Running(words, env=self._environment(), cwd=cwd, stderr_lines=STDERR_LINES) as running:
            stdout = "\n".join(running.lines())
            return Printed(running.wait(), stdout, running.stderr)

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **self._extra}


def source_environment(target: RepositoryPlace, source: RepositoryPlace) -> dict[str, str]:
    """How restic finds the repository to copy from; its credentials stand beside those of the target.

    Raises:
        CredentialsInvalid: a file of them cannot be read, or both places need the same one with different values.
    """
    ours, theirs = read_credentials(target.credentials_file), read_credentials(source.credentials_file)
    url = source.url
    if "RESTIC_REST_PASSWORD" in theirs and Address.read(url).kind == REST:
        url = _with_credentials(url, theirs.pop("RESTIC_REST_USERNAME", ""), theirs.pop("RESTIC_REST_PASSWORD"))
    clash = sorted(name for name in theirs if name in ours and ours[name] != theirs[name])
    if clash:
        raise CredentialsInvalid(
            f"both repositories need {clash[0]}, with different values, and restic can hold only one",
            "Give one account access to both places, or put the copy on a place of another kind.",
        )
    return {**theirs, "RESTIC_FROM_REPOSITORY": url, "RESTIC_FROM_PASSWORD_FILE": str(source.password_file)}


def options_of_both(target: RepositoryPlace, source: RepositoryPlace) -> tuple[str, ...]:
    """restic's options for copying; it has one set of them for both repositories.

    Raises:
        CredentialsInvalid: both lie on SFTP servers, at ports that one ssh cannot be told.
    """
    ours, theirs = reach.address_of(target), reach.address_of(source)
    kinds = [address.kind if address else "" for address in (ours, theirs)]
    if kinds != [SFTP, SFTP]:
        # A region named twice would be refused: stores of one kind share it.
        more = replace(source.options, region="") if kinds[0] == kinds[1] else source.options
        return (*restic_options(kinds[0], target.options), *restic_options(kinds[1], more))
    if target.options.port != source.options.port:
        raise CredentialsInvalid(
            "the ports of both SFTP servers differ, and restic can hold only one",
            "Write each into its repository's address instead: sftp://user@host:2222//folder.",
        )
    return restic_options(SFTP, target.options, source.options)


def _with_credentials(url: str, user: str, password: str) -> str:
    """The address of a REST server as restic takes a second one: for the environment alone, never shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
