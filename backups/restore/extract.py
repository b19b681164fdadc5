"""A set, or a part of it, as plain folders: for somebody without a portal, and perhaps without a stack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from backups.errors import RestoreError
from backups.manifest import DUMP, STAGED
from backups.repository import Repository
from backups.restore import postgres, verify
from backups.restore.errors import SetDamaged
from backups.restore.scope import OWN, choose_for_folder
from backups.restore.selected import Selected, fetch_files
from backups.restore.sets import FoundSet
from backups.restore.space import Need, require_space
from backups.restore.stage import origins

FOLDERS = ("documents", "vectors", "models", "postgres", "config")
BY_NAME = "documents-by-name"
EXTRA = "extra"
_WHOLE = ("postgres", "config")


class TargetNotEmpty(RestoreError):  # noqa: N818 - named as its kin in backups.restore.errors
    code = "target_not_empty"
    default_remedy = "Name a folder that is empty or does not exist yet: nothing is ever restored over other files."


class TargetUnusable(RestoreError):  # noqa: N818
    code = "target_unusable"
    default_remedy = "Name a folder that the account of the portal's worker may write to."


def extract(
    found: FoundSet,
    repository: Repository,
    target: Path,
    pg_bin: Path | None,
    sources: Collection[str] | None = None,
) -> dict[str, Any]:
    """Bring a set into `<target>/{documents,vectors,models,postgres,config}` with `set.json`, and prove it.

    Documents are named by their checksum; `<target>/documents-by-name` links them under the names people gave them,
    where the dump can be read. Further sources lie in `<target>/extra/<name>`.

    Args:
        pg_bin: folder of pg_restore; without it the dump's checksum is all that is checked.
        sources: bring only these, instead of the five sources of the stack.

    Returns:
        `files` listed per source, `flaws` (only a partial set may have some), `vectors` per collection, `dump_entries`
        and `named` (None without pg_restore, or without the database).

    Raises:
        ScopeRefused, TargetNotEmpty, SpaceShort: before anything is written.
        SetDamaged: the set is not whole.
    """
    manifest = found.manifest
    wanted = FOLDERS if sources is None else choose_for_folder(sources, manifest.sources)
    require_new(target)
    needed = sum(figures.bytes for name, figures in manifest.sources.items() if name in wanted)
    require_space([Need(target, max(needed, sum(entry.bytes for name in wanted for entry in manifest.files_of(name))))])
    target.mkdir(parents=True, exist_ok=True)
    manifest.write(target / "set.json")
    flaws = [flaw for name in wanted for flaw in _bring(found, repository, name, target)]
    if flaws and found.state == "complete":
        raise SetDamaged(f"{len(flaws)} files are not as set.json has them: {flaws[0]}", files=flaws[: verify.NAMED])
    if "models" in wanted:
        verify.verify_models(manifest)
    dump = target / DUMP if "postgres" in wanted and pg_bin is not None else None
    return {
        "files": {name: len(list(manifest.files_of(name))) for name in wanted},
        "flaws": flaws,
        "vectors": verify.verify_vectors(target / "vectors", manifest) if "vectors" in wanted else {},
        "dump_entries": postgres.list_dump(pg_bin, dump) if pg_bin and dump else None,
        "named": _link_by_name(target, pg_bin, dump) if pg_bin and dump and "documents" in wanted else None,
    }


def extract_documents(repository: Repository, found: FoundSet, chosen: Sequence[Selected], target: Path) -> list[str]:
    """Bring single documents into `target` under the names people gave them; returns those names.

    Raises:
        TargetNotEmpty, SpaceShort: before anything is written.
        SetDamaged: a file is not as the set has it.
    """
    require_new(target)
    require_space([Need(target, sum(document.bytes for document in chosen))])
    target.mkdir(parents=True, exist_ok=True)
    brought = target / ".incoming"
    fetch_files(repository, found, {document.sha256 for document in chosen}, brought)
    names = []
    for document in chosen:
        place = _unused(target, _safe(document.name))
        shutil.copy2(brought / document.sha256[:2] / document.sha256, place)
        names.append(place.name)
    shutil.rmtree(brought)
    return names


def require_new(target: Path) -> None:
    """Raises TargetNotEmpty unless the folder is empty or not there."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise TargetNotEmpty(f"{target} is not empty")


def _bring(found: FoundSet, repository: Repository, name: str, target: Path) -> list[str]:
    """Restore one source; returns the files that are not as listed, see verify.find_flaws."""
    entries = list(found.manifest.files_of(name))
    folder = target / name if name in OWN else target / EXTRA / name
    folder.mkdir(parents=True)
    for origin, inner in _origins(found, name, listed=bool(entries)):
        part = folder / inner
        part.mkdir(exist_ok=True)
        repository.restore(found.snapshot.id, folder=origin, target=part)
    if name in ("documents", "models"):
        verify.remove_unlisted(entries, folder)
    return verify.find_flaws(entries, folder if name in OWN else target)


def _origins(found: FoundSet, name: str, *, listed: bool) -> Iterator[tuple[str, str]]:
    """(folder in the snapshot, folder here) of a source; a further one may have files that are not listed."""
    if name not in OWN:
        if listed:
            yield f"/{STAGED}/{EXTRA}/{name}", ""
        if name in found.manifest.roots:
            yield found.manifest.roots[name], ""
    elif listed:
        yield from [(f"/{STAGED}/{name}", "")] if name in _WHOLE else origins(found.manifest, name)


def _link_by_name(target: Path, pg_bin: Path, dump: Path) -> int:
    """Link every document under its name; equal names get a number. Returns how many."""
    folder, named = target / BY_NAME, 0
    folder.mkdir()
    for row in postgres.table_rows(pg_bin, dump, "documents"):
        sha256, name = row.get("sha256", ""), _safe(row.get("name", ""))
        file = target / "documents" / sha256[:2] / sha256
        if sha256 and file.exists():
            _unused(folder, name).symlink_to(os.path.relpath(file, folder))
            named += 1
    return named


def _unused(folder: Path, name: str) -> Path:
    """`name` in `folder`, with a number when that is taken."""
    stem, suffix = Path(name).stem, Path(name).suffix
    numbered = (f"{stem} ({number}){suffix}" for number in count(2))
    places = (folder / one for one in chain([name], numbered))
    return next(place for place in places if not (place.is_symlink() or place.exists()))


def _safe(name: str) -> str:
    """A file name from a name that somebody uploaded."""
    cleaned = "".join("_" if character in "/\\" or ord(character) < 32 else character for character in name)[:200]
    return cleaned if cleaned.strip(".") else "unnamed"
