"""What can be a further source, by its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from backups.extra import ExtraSpec
from backups.job import Job
from backups.sources.database import DatabaseSource
from backups.sources.folder import FolderSource
from backups.sources.portal import PortalSource
from backups.sources.redis import RedisSource
from backups.sources.source import Source

EXTRA = "extra"


def _folder(spec: ExtraSpec, job: Job) -> Source:
    return FolderSource(spec.fields, job.work)


def _postgres(spec: ExtraSpec, job: Job) -> Source:
    return DatabaseSource(spec.fields, job.require_stack().postgres, job.tools.pg_bin)


def _redis(spec: ExtraSpec, _job: Job) -> Source:
    return RedisSource(spec.fields)


def _portal(spec: ExtraSpec, job: Job) -> Source:
    return PortalSource(spec.fields, job.tools.pg_bin)


KINDS: dict[str, Callable[[ExtraSpec, Job], Source]] = {
    "folder": _folder,
    "postgres": _postgres,
    "redis": _redis,
    "portal": _portal,
}


def open_sources(specs: Iterable[ExtraSpec], job: Job) -> dict[str, Source]:
    """The further sources of a job by name; nothing of them is touched yet.

    Raises:
        JobInvalid: a kind is not known, or a setting is wrong.
    """
    return {spec.name: KINDS[spec.fields.one_of("kind", tuple(KINDS))](spec, job) for spec in specs}


def folder_of(staging: Path, name: str) -> Path:
    """Where a further source is staged."""
    return staging / EXTRA / name
