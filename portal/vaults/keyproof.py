"""Whether somebody outside of this machine still holds the key of a repository.

A repository whose key is lost is as gone as one whose disk is. The portal's own copy of the key proves nothing: it goes
with the machine.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from backups.access import Access, reached_by
from backups.errors import BackupError, RepositoryKeyWrong
from backups.fields import Fields
from backups.job import RepositoryPlace
from backups.repository import Repository as Restic
from backups.secret import Secret, write_secret
from portal.core import places
from portal.core.services import audit
from portal.operations.errors import OperationRefused
from portal.vaults.jobs import repository_place
from portal.vaults.models import KeyProof, Repository

DUE_AFTER = timedelta(days=90)
WINDOW = timedelta(minutes=15)
# A key is 43 random characters: whoever mistypes it a few times copies it the next time; nobody guesses it.
WRONG_TRIES = 5


def keyproof_last(repository: Repository) -> KeyProof | None:
    """The last time that somebody typed the key and it opened the repository."""
    return KeyProof.objects.filter(repository=repository, passed=True).first()


def keyproofs_last(repositories: Iterable[Repository]) -> dict[int, KeyProof]:
    """The same for many at once, by the repository's id; those whose key nobody ever proved are left out."""
    passed = KeyProof.objects.filter(repository__in=[row.pk for row in repositories], passed=True)
    newest = passed.order_by("repository_id", "-created_at").distinct("repository_id")
    return {proof.repository_id: proof for proof in newest}


def keyproof_due(repository: Repository, last: KeyProof | None, *, now: datetime | None = None) -> bool:
    """Whether somebody should prove the key: never proven, or not for 90 days; never that of a replaced repository.

    Args:
        last: the last time that somebody did.
    """
    if repository.replaced_by_id is not None:
        return False
    return last is None or (now or timezone.now()) - last.created_at > DUE_AFTER


def key_prove(
    *, repository: Repository, typed: Secret, access: Access | None = None, user: User | None = None
) -> KeyProof:
    """Open the repository, read-only, with what somebody typed, and record whether it did.

    Args:
        access: reach it by this instead of what the portal has itself.

    Raises:
        OperationRefused: too many wrong keys in the last 15 minutes, or the repository cannot be asked now; then
            nothing is recorded.
    """
    _throttle(repository)
    passed = _opens(repository, typed, access or Access())
    with transaction.atomic():
        proof = KeyProof.objects.create(repository=repository, passed=passed, by=user)
        audit(action="key.proven" if passed else "key.wrong", target=repository.scope, user=user)
    return proof


def _throttle(repository: Repository) -> None:
    recent = KeyProof.objects.filter(repository=repository, passed=False, created_at__gte=timezone.now() - WINDOW)
    if recent.count() >= WRONG_TRIES:
        raise OperationRefused(
            "Too many wrong keys were typed for this repository.", code="throttled", remedy="Wait 15 minutes."
        )


def _opens(repository: Repository, typed: Secret, access: Access) -> bool:
    with _typed_file(typed) as file, _asked():
        known = replace(_place(repository), password_file=file)
        try:
            _restic(reached_by(known, access, file.parent)).open()
        except RepositoryKeyWrong:
            return False
    return True


@contextmanager
def _typed_file(typed: Secret) -> Iterator[Path]:
    """What was typed, in a file that only we can read and that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="key-", dir=_private()) as folder:
        file = Path(folder) / "password"
        write_secret(file, typed.reveal())
        yield file


def _private() -> Path:
    folder = Path(settings.VAR_DIR) / "run"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except BackupError as error:
        raise OperationRefused(f"{_sentence(error.message)}", code=error.code, remedy=error.remedy) from None


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _place(repository: Repository) -> RepositoryPlace:
    return RepositoryPlace.read(Fields(repository_place(repository), "repository"))


def _restic(place: RepositoryPlace) -> Restic:
    tool = places.runtime().paths.tool("restic")
    if tool is None:
        raise OperationRefused("The program restic is not installed.", remedy="`python3 manage.py up` installs it.")
    return Restic(place, tool, Path(settings.VAR_DIR) / "operations" / "cache")


def repository_key(repository: Repository) -> Mapping[str, Any]:
    """restic's description of the key that our password file opens; empty when the repository does not answer."""
    try:
        restic = _restic(_place(repository))
        restic.open()
        keys = restic.keys()
    except (BackupError, OperationRefused, json.JSONDecodeError):
        return {}
    return next((key for key in keys if key.get("current")), {})
