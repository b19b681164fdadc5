"""Finding a backup set in a repository."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from backups.errors import ManifestInvalid, ResticFailed
from backups.manifest import SET_JSON, Manifest
from backups.repository import Repository
from backups.restic import CHOSEN_TAG, Snapshot
from backups.restore.errors import SetIncomplete, SetUnknown

LATEST = "latest"
TAG = "ragkeep"


@dataclass(frozen=True, slots=True)
class FoundSet:
    """A set and the snapshot that holds it."""

    snapshot: Snapshot
    manifest: Manifest

    @property
    def state(self) -> str:
        """complete or partial; a set can turn out partial after its set.json was written."""
        return "partial" if self.snapshot.partial else self.manifest.state


def set_snapshots(repository: Repository, host: str | None = None) -> list[Snapshot]:
    """The snapshots that hold sets, oldest first. `host`: only those of one stack (`Stack.host`)."""
    return [snapshot for snapshot in repository.snapshots(tags=[TAG], host=host) if snapshot.set_id]


def read_set(repository: Repository, snapshot: Snapshot) -> FoundSet:
    """Read set.json out of a snapshot.

    Raises:
        ManifestInvalid: there is none, or it cannot be read.
    """
    try:
        text = repository.dump(snapshot.id, SET_JSON)
    except ResticFailed as error:
        raise ManifestInvalid(f"the snapshot of set {snapshot.set_id} has no set.json: {error.message}") from None
    return FoundSet(snapshot, Manifest.from_json(text))


def find_set(repository: Repository, wanted: str, *, host: str | None = None, allow_partial: bool = False) -> FoundSet:
    """The set with the id `wanted`, or the newest complete one of all sources for `latest`.

    Args:
        host: where `latest` looks; a set named by its id is found whatever stack made it.
        allow_partial: take a partial set too, when it is named by its id.

    Raises:
        SetUnknown: there is none.
        SetIncomplete: it is partial and `allow_partial` is not given.
        RepositoryError: the repository cannot be read.
    """
    if wanted == LATEST:
        return _latest(repository, host)
    snapshot = next((found for found in set_snapshots(repository) if found.set_id == wanted), None)
    if snapshot is None:
        raise SetUnknown(f"there is no set {wanted} in the repository {repository.place.url}")
    found = read_set(repository, snapshot)
    if found.state != "complete" and not allow_partial:
        raise SetIncomplete(
            f"set {wanted} is {found.state}: files of {len(found.manifest.missing)} documents or models are missing",
            missing=list(found.manifest.missing[:20]),
        )
    return found


def find_set_beside(
    repository: Repository, wanted: str, *, host: str | None = None, allow_partial: bool = False
) -> FoundSet:
    """As `find_set`, once the repository has proven to be the known one; both are asked at the same time.

    Raises:
        RepositoryError: also when another repository lies there.
    """
    with ThreadPoolExecutor(1, "open") as beside:
        known = beside.submit(repository.open)
        try:
            return find_set(repository, wanted, host=host, allow_partial=allow_partial)
        finally:
            # What is wrong with the repository as a whole says more than why a set was not found in it.
            known.result()


def _latest(repository: Repository, host: str | None) -> FoundSet:
    for snapshot in reversed(set_snapshots(repository, host)):
        if snapshot.partial or CHOSEN_TAG in snapshot.tags:
            continue
        found = read_set(repository, snapshot)
        if found.state == "complete":
            return found
    place = repository.place.url
    raise SetUnknown(f"there is no complete set in the repository {place}" + (f" of the stack {host}" if host else ""))
