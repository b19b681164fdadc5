"""A set as plain folders, for somebody without a portal, and perhaps without a stack."""

from __future__ import annotations

import os
from itertools import chain, count
from pathlib import Path
from typing import Any

from backups.errors import RestoreError
from backups.manifest import DUMP, STAGED
from backups.repository import Repository
from backups.restore import postgres, verify
from backups.restore.errors import SetDamaged
from backups.restore.sets import FoundSet
from backups.restore.space import Need, require_space
from backups.restore.stage import origins

FOLDERS = ("documents", "vectors", "models", "postgres", "config")
BY_NAME = "documents-by-name"
_WHOLE = ("postgres", "config")


class TargetNotEmpty(RestoreError):  # noqa: N818 - named as its kin in backups.restore.errors
    code = "target_not_empty"
    default_remedy = "Name a folder that is empty or does not exist yet: nothing is ever restored over other files."


def extract(found: FoundSet, repository: Repository, target: Path, pg_bin: Path | None) -> dict[str, Any]:
    """Bring a set into `<target>/{documents,vectors,models,postgres,config}` with `set.json`, and prove it.

    Documents are named by their checksum; `<target>/documents-by-name` links them under the names people gave them,
    where the dump can be read.

    Args:
        pg_bin: folder of pg_restore; without it the dump's checksum is all that is checked.

    Returns:
        `files` listed per source, `flaws` (only a partial set may have some), `vectors` per collection, `dump_entries`
        and `named` (None without pg_restore).

    Raises:
        TargetNotEmpty, SpaceShort: before anything is written.
        SetDamaged: the set is not whole.
    """
    manifest = found.manifest
    if target.exists() and any(target.iterdir()):
        raise TargetNotEmpty(f"{target} is not empty")
    require_space([Need(target, sum(entry.bytes for entry in manifest.files))])
    target.mkdir(parents=True, exist_ok=True)
    manifest.write(target / "set.json")
    flaws = [flaw for name in FOLDERS for flaw in _bring(found, repository, name, target / name)]
    if flaws and found.state == "complete":
        raise SetDamaged(f"{len(flaws)} files are not as set.json has them: {flaws[0]}", files=flaws[: verify.NAMED])
    vectors = verify.verify_vectors(target / "vectors", manifest)
    verify.verify_models(manifest)
    dump = target / DUMP
    return {
        "files": {name: len(list(manifest.files_of(name))) for name in FOLDERS},
        "flaws": flaws,
        "vectors": vectors,
        "dump_entries": None if pg_bin is None else postgres.list_dump(pg_bin, dump),
        "named": None if pg_bin is None else _link_by_name(target, pg_bin, dump),
    }


def _bring(found: FoundSet, repository: Repository, name: str, folder: Path) -> list[str]:
    """Restore one source; returns the files that are not as listed, see verify.find_flaws."""
    places = [(f"/{STAGED}/{name}", "")] if name in _WHOLE else origins(found.manifest, name)
    folder.mkdir()
    for origin, inner in places if any(True for _ in found.manifest.files_of(name)) else ():
        part = folder / inner
        part.mkdir(exist_ok=True)
        repository.restore(found.snapshot.id, folder=origin, target=part)
    if name in ("documents", "models"):
        verify.remove_unlisted(found.manifest.files_of(name), folder)
    return verify.find_flaws(list(found.manifest.files_of(name)), folder)


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
    return next(folder / one for one in chain([name], numbered) if not (folder / one).is_symlink())


def _safe(name: str) -> str:
    """A file name from a name that somebody uploaded."""
    cleaned = "".join("_" if character in "/\\" or ord(character) < 32 else character for character in name)[:200]
    return cleaned if cleaned.strip(".") else "unnamed"
