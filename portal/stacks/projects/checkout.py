"""Our own copy of a project's files: taken in whole, brought up to date without losing what containers wrote there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from portal.operations.errors import OperationFailed
from portal.runtime.compose.record import write_private

MOST_FILES = 20_000
MOST_BYTES = 500 << 20
# What the author's tools keep beside the project.
LEFT_OUT = frozenset({".git"})
DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


class Intake:
    """A folder that is being filled, with a limit on how much goes in."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o755)
        self.folder = folder
        self._files = 0
        self._bytes = 0

    def copy_tree(self, source: Path) -> None:
        """Take in a folder.

        Raises:
            OperationFailed: a link leads out of it, something is no file, or it is too much.
        """
        root = source.resolve()
        for place, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name not in LEFT_OUT]
            here = Path(place)
            for name in [*names, *(one for one in folders if (here / one).is_symlink())]:
                self._take(here / name, root)
            for name in folders:
                if not (here / name).is_symlink():
                    (self.folder / (here / name).relative_to(root)).mkdir(mode=0o755, exist_ok=True)

    def _take(self, path: Path, root: Path) -> None:
        inner = path.relative_to(root)
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            real = path.resolve()
            if path.readlink().is_absolute() or not (real == root or root in real.parents):
                raise OperationFailed(f"{inner} is a link that leads out of the project's folder.", code="link")
            (self.folder / inner).symlink_to(path.readlink())
        elif stat.S_ISREG(mode):
            with path.open("rb") as text:
                self.add(str(inner), text, mode)
        else:
            raise OperationFailed(f"{inner} is neither a file nor a folder.", code="no_file")

    def add(self, name: str, text: IO[bytes], mode: int = 0o644) -> None:
        """Take in one file.

        Raises:
            OperationFailed: its name leads elsewhere, or it is too much.
        """
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name or not parts.parts:
            raise OperationFailed(f"{name!r} leads out of the project's folder.", code="link")
        target = self.folder / parts
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._files += 1
        with target.open("xb") as sink:
            while piece := text.read(1 << 20):
                self._bytes += len(piece)
                if self._bytes > MOST_BYTES or self._files > MOST_FILES:
                    raise OperationFailed(
                        f"The project has more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB.",
                        code="too_large",
                        remedy="Keep data out of the project's folder.",
                    )
                sink.write(piece)
        target.chmod((mode & 0o777) | 0o600)


def unpack(archive: Path, intake: Intake) -> None:
    """Take in a zip or tar archive, or one Compose file; a single folder around everything is left out.

    Raises:
        OperationFailed: it cannot be read, or holds what may not be taken in.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, intake)
        elif tarfile.is_tarfile(archive):
            _untar(archive, intake)
        else:
            with archive.open("rb") as text:
                intake.add(DEFAULT_FILES[0], text)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, FileExistsError, RuntimeError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise OperationFailed(f"The archive cannot be read: {why}.", code="archive") from None
    _without_wrapper(intake.folder)


def _unzip(archive: Path, intake: Intake) -> None:
    with zipfile.ZipFile(archive) as found:
        for info in found.infolist():
            if stat.S_ISLNK(info.external_attr >> 16):
                raise OperationFailed(f"{info.filename} is a link, which no archive may hold.", code="link")
            if not info.is_dir():
                with found.open(info) as text:
                    intake.add(info.filename, text, (info.external_attr >> 16) or 0o644)


def _untar(archive: Path, intake: Intake) -> None:
    with tarfile.open(archive) as found:
        for info in found:
            if info.isfile() and (text := found.extractfile(info)) is not None:
                intake.add(str(PurePosixPath(info.name)), text, info.mode)
            elif not info.isdir():
                raise OperationFailed(f"{info.name} is neither a file nor a folder.", code="link")


def _without_wrapper(folder: Path) -> None:
    inner = list(folder.iterdir())
    if len(inner) == 1 and inner[0].is_dir():
        aside = folder.with_name(f"{folder.name}.wrapped")
        shutil.rmtree(aside, ignore_errors=True)
        inner[0].rename(aside)
        folder.rmdir()
        aside.rename(folder)


def place(incoming: Path, folder: Path, listing: Path) -> None:
    """Bring our copy up to date.

    What did not change at its source is left as it is, also where a container has changed our copy of it meanwhile.
    What changed at both keeps the container's under another name. Files that never came from the source are data.

    Args:
        listing: what was placed last, path -> digest.
    """
    before = _listed(listing)
    after = {name: _digest(incoming / name) for name in sorted(_names(incoming))}
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name, digest in after.items():
        target = folder / name
        if before.get(name) == digest and os.path.lexists(target):
            continue
        if os.path.lexists(target) and not target.is_dir() and _digest(target) not in (digest, before.get(name)):
            target.rename(_free_name(target))
        _move_in(incoming / name, target)
    for name, digest in before.items():
        target = folder / name
        if name not in after and os.path.lexists(target) and _digest(target) == digest:
            target.unlink()
    write_private(listing, json.dumps(after, indent=0) + "\n")


def _move_in(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    fresh = target.with_name(f".{target.name}.new")
    fresh.unlink(missing_ok=True)
    shutil.copy2(source, fresh, follow_symlinks=False)
    fresh.replace(target)


def _free_name(path: Path) -> Path:
    number = 1
    while os.path.lexists(found := path.with_name(f"{path.name}.kept-{number}")):
        number += 1
    return found


def _names(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        yield from (str((Path(here) / name).relative_to(folder)) for name in (*names, *links))


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"link {path.readlink()}"
    if not path.is_file():
        return "no file"
    with path.open("rb") as text:
        return f"{hashlib.file_digest(text, 'sha256').hexdigest()} {path.stat().st_mode & 0o111:o}"


def _listed(listing: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(listing.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def files_of(folder: Path, asked: list[str]) -> list[str]:
    """The Compose files of a project: those asked for, else what Compose would take, with its override.

    Raises:
        OperationFailed: there is none.
    """
    if asked:
        return asked
    for name in DEFAULT_FILES:
        if (folder / name).is_file():
            stem, ending = name.rsplit(".", 1)
            overrides = [f"{stem}.override.{one}" for one in (ending, "yaml", "yml")]
            return [name, *[one for one in dict.fromkeys(overrides) if (folder / one).is_file()][:1]]
    raise OperationFailed(
        f"The project has no Compose file: none of {', '.join(DEFAULT_FILES)} is in its folder.",
        code="no_file",
        remedy="Name its files.",
    )
