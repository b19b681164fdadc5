"""Put staged data in place of live data, in all volumes and the database together, and take it back.

Every function here can be called again after a crash at any moment: it reads the journal, looks where things stand and
does what is left. The services that use the data are stopped meanwhile; that is the caller's part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backups.manifest import Manifest
from backups.restore import database, swapjournal
from backups.restore.database import DatabaseNames, Server
from backups.restore.errors import SwapConflict
from backups.restore.folders import Pair, VolumeFolders
from backups.restore.swapjournal import SwapJournal

# Rebuilt from the restored data by the service that owns it, so a restore only empties it.
DERIVED = ("index",)

BEFORE_CHANGE = "change"
AFTER_VOLUME = "swap"

Checkpoint = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """The stack that is restored into.

    Attributes:
        volumes: volume name -> its folder; data is in `<folder>/live`.
        server: the stack's Postgres; None leaves databases alone.
        database: name of the stack's database.
        operation: id of the restore.
        external_models: a server that is no part of the stack keeps its models.
    """

    volumes: Mapping[str, Path]
    server: Server | None
    database: str
    operation: str
    external_models: bool = False

    def leaves_models(self, manifest: Manifest) -> bool:
        """Whether a restore of the set has no models to bring back, or no place for them."""
        return self.external_models or manifest.external_models is not None

    @property
    def names(self) -> DatabaseNames:
        return DatabaseNames(self.database, self.operation)

    def folders(self, volume: str) -> VolumeFolders:
        return VolumeFolders(self.volumes[volume], self.operation)

    def journal(self) -> SwapJournal | None:
        return swapjournal.read(self.volumes.values(), self.operation)


@dataclass(frozen=True, slots=True)
class Staged:
    """What changes places.

    Attributes:
        set_id: the backup set that was staged.
        volumes: names of the volumes that hold staged data.
        emptied: names of the volumes whose service derives its data again, and that start empty therefore.
        database: whether a database was staged.
    """

    set_id: str
    volumes: Sequence[str]
    emptied: Sequence[str] = DERIVED
    database: bool = True


def swap(target: Target, staged: Staged | None, checkpoint: Checkpoint) -> SwapJournal:
    """Make the staged data live and keep the old.

    Args:
        staged: what to put in place; None goes on with a swap that was begun.
        checkpoint: called with BEFORE_CHANGE before every change on disk or in Postgres and with AFTER_VOLUME between
            volumes; it stops the swap by raising.

    Raises:
        SwapConflict: something that should be put in place is missing; nothing has been changed then.
    """
    journal = target.journal() or _begin(target, staged, checkpoint)
    _require(target, journal, forward=True)
    for name, pair in journal.volumes.items():
        target.folders(name).forward(pair, _before_change(checkpoint))
        checkpoint(AFTER_VOLUME)
    if target.server is not None and journal.database is not None:
        database.forward(target.server, target.names, journal.database, _before_change(checkpoint))
    return journal


def unswap(target: Target, checkpoint: Checkpoint) -> bool:
    """Make the old data live again, from any state a swap left behind.

    Returns:
        False when no swap of this operation was ever begun, so nothing had to be taken back.

    Raises:
        SwapConflict: the old data is no longer there; nothing has been changed then.
    """
    journal = target.journal()
    if journal is None:
        return False
    _require(target, journal, forward=False)
    if target.server is not None and journal.database is not None:
        database.back(target.server, target.names, journal.database, _before_change(checkpoint))
    for name, pair in journal.volumes.items():
        target.folders(name).back(pair, _before_change(checkpoint))
        checkpoint(AFTER_VOLUME)
    return True


def discard(target: Target, checkpoint: Checkpoint) -> None:
    """Remove what a restore kept or staged, and its journal. Live data is never touched.

    Raises:
        SwapConflict: the swap stands half-way; it has to be finished or undone first.
    """
    journal = target.journal()
    if journal is not None and not is_settled(target, journal):
        raise SwapConflict("the swap stands half-way, so both old and new data are still needed")
    for name in target.volumes:
        checkpoint(BEFORE_CHANGE)
        target.folders(name).discard()
    if target.server is not None:
        for database_name in (target.names.kept, target.names.staging):
            checkpoint(BEFORE_CHANGE)
            target.server.drop(database_name)
    swapjournal.remove(target.volumes.values(), target.operation)


def is_settled(target: Target, journal: SwapJournal) -> bool:
    """Whether everything is new, or everything is old."""
    states = list(_states(target, journal))
    return all(forward for forward, _ in states) or all(back for _, back in states)


def _begin(target: Target, staged: Staged | None, checkpoint: Checkpoint) -> SwapJournal:
    if staged is None:
        raise SwapConflict("no swap was begun, and nothing is named that could be put in place")
    emptied = [name for name in staged.emptied if name in target.volumes]
    for name in emptied:
        target.folders(name).make_staging()
    journal = SwapJournal(
        operation=target.operation,
        set_id=staged.set_id,
        volumes={name: target.folders(name).pair() for name in [*staged.volumes, *emptied]},
        database=database.pair(target.server, target.names) if target.server and staged.database else None,
    )
    checkpoint(BEFORE_CHANGE)
    swapjournal.write((target.volumes[name] for name in journal.volumes), journal)
    return journal


def _before_change(checkpoint: Checkpoint) -> Callable[[], None]:
    return lambda: checkpoint(BEFORE_CHANGE)


def _require(target: Target, journal: SwapJournal, *, forward: bool) -> None:
    """Look for everything that will become live before the first move: half a swap is worse than none."""
    for name, pair in journal.volumes.items():
        wanted = _wanted(pair, forward=forward)
        if wanted is not None and target.folders(name).place_of(wanted) is None:
            raise SwapConflict(f"the data that should become {target.folders(name).live} is no longer there")
    if target.server is None or journal.database is None:
        return
    oid = journal.database.new if forward else journal.database.old
    if oid is not None and oid not in target.server.oids().values():
        raise SwapConflict(f"the database that should become {target.database} is no longer there")


def _wanted(pair: Pair, *, forward: bool) -> int | None:
    return pair.new if forward else pair.old


def _states(target: Target, journal: SwapJournal) -> Iterator[tuple[bool, bool]]:
    """(all new, all old) of every volume and of the database."""
    for name, pair in journal.volumes.items():
        folders = target.folders(name)
        yield folders.is_forward(pair), folders.is_back(pair)
    if target.server is not None and journal.database is not None:
        oids = target.server.oids()
        yield (
            database.is_forward(oids, target.names, journal.database),
            database.is_back(oids, target.names, journal.database),
        )
