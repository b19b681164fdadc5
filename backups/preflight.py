"""What must hold before a backup begins; nothing is changed here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backups import chroma
from backups.errors import SpaceShort
from backups.job import Job, Stack
from backups.repository import Repository
from backups.sources import documents, models, postgres, vectors

RESERVE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Facts:
    """`repository_id`: restic's; `versions`: as in set.json; `staging_bytes`: the space the staging may need."""

    repository_id: str
    versions: dict[str, Any]
    staging_bytes: int


def check(job: Job, repository: Repository) -> Facts:
    """Prove that repository, tools, sources and space are there.

    Raises:
        RepositoryError, ToolError, SourceError, SpaceShort: the first thing that is not.
    """
    stack = job.require_stack()
    versions: dict[str, Any] = {"restic": repository.version(), "chroma": chroma.version()}
    chroma.program()
    repository_id = repository.open()
    with postgres.snapshot(stack.postgres) as snapshot:
        versions |= snapshot.versions()
        listed = len(snapshot.files())
        database_bytes = snapshot.bytes()
    versions["pg_dump"] = postgres.Dumper(job.tools.pg_bin, stack.postgres).check_version(versions["postgres_major"])
    check_folders(stack, listed)
    needed = staging_bytes(vectors.folder_bytes(stack.volumes.vectors / "live"), database_bytes)
    check_space(job.work, needed)
    return Facts(repository_id, versions, needed)


def check_folders(stack: Stack, listed: int) -> None:
    """Prove that the volumes hold what they must; `listed`: how many documents the database names.

    Raises:
        SourceMissing, SourceEmpty
    """
    vectors.check(stack.volumes.vectors / "live")
    documents.check(stack.volumes.documents / "live", listed)
    if not stack.has_external_models:
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
