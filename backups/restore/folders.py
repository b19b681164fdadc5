"""The folders of one volume that a restore moves: live, staging and kept.

A mountpoint cannot be renamed, so a service keeps its data in `<volume>/live`. A restore puts the new data beside it
and then lets the two change places. Folders are known by their inode number, written down before the first move:
names alone cannot tell whether an exchange has happened.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backups.restore import exchange
from backups.restore.errors import SwapConflict

LIVE = "live"


@dataclass(frozen=True, slots=True)
class Pair:
    """Inode numbers of the data that was live and of the data that replaces it; `old` is None on a blank volume."""

    old: int | None
    new: int


def inode(path: Path) -> int | None:
    """Inode number of a folder, None where nothing is."""
    try:
        return path.stat(follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class VolumeFolders:
    """One volume during one operation."""

    volume: Path
    operation: str

    @property
    def live(self) -> Path:
        return self.volume / LIVE

    @property
    def staging(self) -> Path:
        return self.volume / self.staging_name(self.operation)

    @staticmethod
    def staging_name(operation: str) -> str:
        """What the folder is called that becomes live."""
        return f"staging-{operation}"

    @property
    def kept(self) -> Path:
        return self.volume / f"kept-{self.operation}"

    def make_staging(self) -> Path:
        """An empty staging folder that only differs from live by its name; an existing one is left as it is."""
        if inode(self.staging) is None:
            self.staging.mkdir(parents=True)
            if self.live.is_dir():
                shutil.copymode(self.live, self.staging)
            exchange.sync_folder(self.volume)
        return self.staging

    def discard(self) -> None:
        """Remove kept and staging data; each is renamed first, so that no half-removed folder can be put back."""
        grave = self.volume / f"discard-{self.operation}"
        remove_tree(grave)
        for folder in (self.kept, self.staging):
            if inode(folder) is not None:
                folder.rename(grave)
                exchange.sync_folder(self.volume)
                remove_tree(grave)

    def pair(self) -> Pair:
        """What would change places now: the live and the staged folder.

        Raises:
            SwapConflict: nothing is staged.
        """
        new = inode(self.staging)
        if new is None:
            raise SwapConflict(f"{self.staging} is missing, so there is nothing to put in place")
        return Pair(old=inode(self.live), new=new)

    def place_of(self, number: int | None) -> Path | None:
        """Where the folder with this inode number stands now."""
        places = (self.live, self.staging, self.kept)
        return next((place for place in places if number is not None and inode(place) == number), None)

    def forward(self, pair: Pair, between: Callable[[], None]) -> None:
        """Put the new data live and the old data into `kept-<operation>`, from any state an earlier attempt left.

        Args:
            between: called before every single change of the directory.

        Raises:
            SwapConflict: the new data is gone, or something else has taken the place of live.
        """
        self._settle(wanted=pair.new, other=pair.old, parking=self.kept, between=between)

    def back(self, pair: Pair, between: Callable[[], None]) -> None:
        """The reverse of `forward`: old data live (or no live where none was), new data in `staging-<operation>`."""
        if pair.old is None:
            self._withdraw(pair.new, between)
            return
        self._settle(wanted=pair.old, other=pair.new, parking=self.staging, between=between)

    def is_forward(self, pair: Pair) -> bool:
        """Whether the new data is live and the old is out of the way (kept, or removed since)."""
        return inode(self.live) == pair.new and self.place_of(pair.old) in (None, self.kept)

    def is_back(self, pair: Pair) -> bool:
        """Whether the old data is live and the new is out of the way (staged, or removed since).

        Where nothing was live before, a service that was started since may have made a folder of its own.
        """
        old_is_live = pair.old is None or inode(self.live) == pair.old
        return old_is_live and self.place_of(pair.new) in (None, self.staging)

    def _settle(self, *, wanted: int, other: int | None, parking: Path, between: Callable[[], None]) -> None:
        place = self.place_of(wanted)
        if place is None:
            raise SwapConflict(f"the data that should become {self.live} is no longer there")
        if place != self.live:
            self._make_live(wanted, other, parking, between)
        left = self.place_of(other)
        if left is not None and left != parking:
            self._move(left, parking, between)

    def _make_live(self, wanted: int, other: int | None, parking: Path, between: Callable[[], None]) -> None:
        place = self._unpark(wanted, parking, between)
        occupant = inode(self.live)
        if occupant is not None and occupant != other:
            self._clear_stranger()
            occupant = None
        if occupant is None:
            self._move(place, self.live, between)
            return
        between()
        if exchange.exchange(place, self.live):
            exchange.sync_folder(self.volume)
            return
        self._move(self.live, parking, between)
        self._move(place, self.live, between)

    def _unpark(self, wanted: int, parking: Path, between: Callable[[], None]) -> Path:
        """Free `parking` when the wanted data itself stands there and live is taken; returns where it stands then."""
        place = self.place_of(wanted)
        assert place is not None
        if place != parking or inode(self.live) is None:
            return place
        spare = self.staging if parking == self.kept else self.kept
        self._move(parking, spare, between)
        return spare

    def _clear_stranger(self) -> None:
        """Remove an empty live folder that a service made in the middle of a swap; data in it is never removed."""
        try:
            self.live.rmdir()
        except OSError:
            raise SwapConflict(f"{self.live} was replaced during the swap and is not empty") from None

    def _withdraw(self, new: int, between: Callable[[], None]) -> None:
        place = self.place_of(new)
        if place is not None and place != self.staging:
            self._move(place, self.staging, between)

    def _move(self, source: Path, target: Path, between: Callable[[], None]) -> None:
        between()
        if inode(target) is not None:
            raise SwapConflict(f"{target} is in the way")
        source.rename(target)
        exchange.sync_folder(self.volume)


def size(folder: Path) -> int:
    """Bytes of all files below a folder, each counted once however many names it has; 0 where nothing is."""
    found: dict[int, int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            about = Path(parent, name).stat(follow_symlinks=False)
            found[about.st_ino] = about.st_size
    return sum(found.values())


def remove_tree(folder: Path) -> None:
    """Remove a folder with everything in it, also read-only folders; one that is missing is fine.

    Raises:
        OSError: something in it cannot be removed.
    """
    if inode(folder) is None:
        return
    _make_writable(folder)
    for parent, names, _ in os.walk(folder):
        for name in names:
            _make_writable(Path(parent, name))
    shutil.rmtree(folder)


def empty_folder(folder: Path) -> None:
    """Remove everything in a folder; one that is missing is fine.

    Raises:
        OSError: something in it cannot be removed.
    """
    if inode(folder) is None:
        return
    for path in list(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()


def _make_writable(folder: Path) -> None:
    if not folder.is_symlink():
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IRWXU)
