"""The agent's job `probe`: try a repository's place out, and say all that is found in sentences.

Changes nothing, unless a missing bucket is to be made (`options.create_bucket`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from backups import reach, rest, s3, sftp
from backups.errors import BackupError, BucketMissing, RepositoryMissing, RepositoryRefused, RepositoryUnreachable
from backups.findings import ERROR, NOTE, Finding
from backups.job import Job, RepositoryPlace
from backups.journal import Context
from backups.place import REST, S3, SFTP, Address
from backups.repository import Repository

Found = tuple[list[Finding], dict[str, Any]]


def probe(job: Job, context: Context) -> dict[str, Any]:
    """Look at the place, then at the repository in it.

    Result: `ok` (no finding is an error), `kind`, `reachable`, `repository` (its id, or null when none is there),
    `restic`, `findings` ([{level, code, message, remedy}]), `figures` (of the kind: free_bytes, versioned, ...),
    `host_keys` ([{kind, fingerprint, line}], SFTP alone).

    Raises:
        AddressInvalid, CredentialsInvalid: the place is not even described.
        ToolError: restic cannot be used.
    """
    place = job.require_repository()
    address, credentials = Address.read(place.url), reach.credentials_of(place)
    repository = Repository(place, job.tools.restic, job.cache)
    report: dict[str, Any] = {"kind": address.kind, "restic": repository.version(), "host_keys": []}
    with context.step("look"):
        if address.kind == SFTP:
            report["host_keys"] = _host_keys(address, place)
        findings, figures = _looked(
            lambda: _look(address, place, credentials, job.options.get("create_bucket") is True)
        )
    reachable = not any(finding.level == ERROR for finding in findings)
    if reachable:
        with context.step("open"):
            report["repository"], opened = _open(repository)
        findings += opened
    ok = not any(finding.level == ERROR for finding in findings)
    found = {"ok": ok, "reachable": reachable, "repository": report.pop("repository", None), "figures": figures}
    return {"state": "ok", **report, **found, "findings": [finding.to_json() for finding in findings]}


def _look(address: Address, place: RepositoryPlace, credentials: Mapping[str, str], create_bucket: bool) -> Found:
    if address.kind == S3:
        if create_bucket:
            _make_bucket(address, place, credentials)
        return s3.look(address, place.options, credentials)
    if address.kind == REST:
        return list(rest.look(address, place.options, credentials)), {}
    if address.kind == SFTP:
        return sftp.look(address, place.options)
    return _look_local(Path(address.path))


def _make_bucket(address: Address, place: RepositoryPlace, credentials: Mapping[str, str]) -> None:
    bucket = s3.Bucket.connect(address, place.options, credentials)
    try:
        bucket.demand()
    except BucketMissing:
        bucket.make()


def _looked(look: Callable[[], Found]) -> Found:
    try:
        return look()
    except BackupError as error:
        return [Finding.of(error)], {}


def _look_local(folder: Path) -> Found:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    findings = list(_local_findings(folder, nearest))
    usage = shutil.disk_usage(nearest)
    return findings, {"free_bytes": usage.free, "total_bytes": usage.total}


def _local_findings(folder: Path, nearest: Path) -> Iterator[Finding]:
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = "is no folder" if not nearest.is_dir() else f"cannot be written by uid {os.geteuid()}"
        yield Finding(
            ERROR,
            RepositoryRefused.code,
            f"{nearest} {what}.",
            "Give the folder to the account that Ragkeep runs as, or choose another one.",
        )
    elif nearest != folder:
        yield Finding(NOTE, "folder_missing", f"The folder {folder} is not there yet; it is made with the repository.")


def _host_keys(address: Address, place: RepositoryPlace) -> list[dict[str, str]]:
    try:
        return [key.to_json() for key in sftp.host_keys(address, place.options)]
    except BackupError:
        return []  # the look itself tells why


def _open(repository: Repository) -> tuple[str | None, list[Finding]]:
    """The id of the repository, or none when none is there and none is known to be."""
    try:
        return repository.open(), []
    except RepositoryMissing as missing:
        return None, [_not_there(repository, missing)]
    except RepositoryUnreachable as gone:
        # A folder that is not there yet holds no repository; a server has just been seen to answer.
        return None, [_not_there(repository, gone) if repository.is_local else Finding.of(gone)]
    except BackupError as error:
        return None, [Finding.of(error)]


def _not_there(repository: Repository, error: BackupError) -> Finding:
    if repository.place.id:
        return Finding.of(error)
    return Finding(NOTE, RepositoryMissing.code, "No repository is there yet.")
