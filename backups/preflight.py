"""What must hold before a backup begins; nothing is changed here."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backups import chroma
from backups.errors import SpaceShort
from backups.extra import OWN_SOURCES
from backups.furtherparts import FurtherParts
from backups.job import Job, Stack
from backups.repository import Repository
from backups.sources import documents, models, postgres, vectors

RESERVE_BYTES = 64 << 20
RESTIC_SEEN = "restic.json"


@dataclass(frozen=True, slots=True)
class Facts:
    """`repository_id`: restic's; `versions`: as in set.json; `staging_bytes`: the space the staging may need."""

    repository_id: str
    versions: dict[str, Any]
    staging_bytes: int


def check(job: Job, repository: Repository, further: FurtherParts) -> Facts:
    """Prove that repository, tools, sources and space are there.

    Raises:
        RepositoryError, ToolError, SourceError, SpaceShort: the first thing that is not.
    """
    stack = job.require_stack()
    taken = OWN_SOURCES if job.sources is None else job.sources
    versions: dict[str, Any] = {"restic": restic_version(repository, job.tools.restic, job.cache)}
    repository_id = repository.open()
    with postgres.snapshot(stack.postgres) as snapshot:
        versions |= snapshot.versions()
        listed = len(snapshot.files())
        database_bytes = snapshot.bytes() if "postgres" in taken else 0
    versions["pg_dump"] = postgres.Dumper(job.tools.pg_bin, stack.postgres).check_version(versions["postgres_major"])
    versions["chroma"] = chroma.version()
    check_folders(stack, listed, taken)
    vector_bytes = vectors.folder_bytes(stack.volumes.vectors / "live") if "vectors" in taken else 0
    needed = staging_bytes(vector_bytes, database_bytes + further.check())
    check_space(job.work, needed)
    return Facts(repository_id, versions, needed)


def restic_version(repository: Repository, tool: Path, cache: Path) -> str:
    """restic's version; a program that has not changed since it was asked is not started again for it.

    Raises:
        ToolMissing, ToolTooOld
    """
    remembered, mark = cache / RESTIC_SEEN, _mark(tool)
    try:
        known = json.loads(remembered.read_text(encoding="utf-8"))
        if known["mark"] == mark:
            return str(known["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never asked, or not to be understood: asked now
    version = repository.version()
    cache.mkdir(parents=True, exist_ok=True)
    remembered.write_text(json.dumps({"mark": mark, "version": version}), encoding="utf-8")
    return version


def _mark(tool: Path) -> str:
    """How a program looks from outside; another one under the same name looks different."""
    try:
        found = tool.stat()
    except OSError:
        return ""
    return f"{tool} {found.st_ino} {found.st_size} {found.st_mtime_ns}"


def check_folders(stack: Stack, listed: int, taken: tuple[str, ...] = OWN_SOURCES) -> None:
    """Prove that the volumes hold what they must; `listed`: how many documents the database names.

    Raises:
        ToolMissing, SourceMissing, SourceEmpty
    """
    if "vectors" in taken:
        chroma.program()
        vectors.check(stack.volumes.vectors / "live")
    if "documents" in taken:
        documents.check(stack.volumes.documents / "live", listed)
    if "models" in taken and not stack.has_external_models:
        models.check(stack.volumes.models / "live")


def staging_bytes(vector_bytes: int, database_bytes: int) -> int:
    """Vectors are staged, and copied once more for Chroma to prove them; a dump is smaller than its database."""
    return 2 * vector_bytes + database_bytes + RESERVE_BYTES


def check_space(folder: Path, needed: int) -> None:
    """Prove that the disk of `folder` has `needed` bytes.

    Raises:
        SpaceShort
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SpaceShort(
            f"the staging under {folder} needs {needed >> 20} MiB, {free >> 20} MiB are free", needed=needed, free=free
        )
