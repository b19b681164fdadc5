"""Whether somebody outside of this machine still holds the key of a repository, and what they would need in a disaster.

A repository whose key is lost is as gone as one whose disk is. The portal's own copy of the key proves nothing: it goes
with the machine.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from backups.errors import BackupError, RepositoryKeyWrong
from backups.fields import Fields
from backups.job import RepositoryPlace
from backups.repository import Repository as Restic
from backups.secret import Secret, write_secret
from portal.core import places
from portal.core.services import audit
from portal.operations.errors import OperationRefused
from portal.vaults.jobs import repository_place
from portal.vaults.models import KeyProof, Plan, Repository

DUE_AFTER = timedelta(days=90)
WINDOW = timedelta(minutes=15)
# A key is 43 random characters: whoever mistypes it a few times copies it the next time; nobody guesses it.
WRONG_TRIES = 5


@dataclass(frozen=True, slots=True)
class RecoveryCard:
    """What a recovery needs, for paper. `key_id`: restic's id of the key, empty when the repository does not answer."""

    repository: str
    url: str
    restic_id: str
    key_id: str
    key_made_at: datetime | None
    password_file: str
    needs_credentials: bool
    stacks: tuple[str, ...]
    made_at: datetime
    proven_at: datetime | None

    @property
    def command(self) -> str:
        """What to type on a blank machine."""
        credentials = " --credentials-file CREDENTIALS_FILE" if self.needs_credentials else ""
        return f"python3 manage.py recover --repository {self.url} --password-file KEY_FILE{credentials}"

    def to_json(self) -> dict[str, Any]:
        """The card as `--json` prints it."""
        return {
            "repository": self.repository,
            "url": self.url,
            "restic_id": self.restic_id,
            "key_id": self.key_id,
            "key_made_at": self.key_made_at,
            "password_file": self.password_file,
            "needs_credentials": self.needs_credentials,
            "stacks": list(self.stacks),
            "made_at": self.made_at,
            "proven_at": self.proven_at,
            "command": self.command,
        }


def recovery_card(repository: Repository) -> RecoveryCard:
    """The card of a repository; it asks the repository which of its keys is ours."""
    key = _key_of(repository)
    last = keyproof_last(repository)
    stacks = Plan.objects.filter(repository=repository).values_list("stack", flat=True).distinct()
    return RecoveryCard(
        repository=repository.name,
        url=repository.url,
        restic_id=repository.restic_id,
        key_id=str(key.get("id", "")),
        key_made_at=_moment(key.get("created")),
        password_file=repository.password_file,
        needs_credentials=bool(repository.credentials_file),
        stacks=tuple(sorted(stacks)),
        made_at=timezone.now(),
        proven_at=last.created_at if last else None,
    )


def keyproof_last(repository: Repository) -> KeyProof | None:
    """The last time that somebody typed the key and it opened the repository."""
    return KeyProof.objects.filter(repository=repository, passed=True).first()


def keyproof_due(repository: Repository, *, now: datetime | None = None) -> bool:
    """Whether somebody should prove the key: never proven, or not for 90 days; never that of a replaced repository."""
    if repository.replaced_by_id is not None:
        return False
    last = keyproof_last(repository)
    return last is None or (now or timezone.now()) - last.created_at > DUE_AFTER


def key_prove(*, repository: Repository, typed: Secret, user: User | None = None) -> KeyProof:
    """Open the repository, read-only, with what somebody typed, and record whether it did.

    Raises:
        OperationRefused: too many wrong keys in the last 15 minutes, or the repository cannot be asked now; then
            nothing is recorded.
    """
    _throttle(repository)
    passed = _opens(repository, typed)
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


def _opens(repository: Repository, typed: Secret) -> bool:
    with _typed_file(typed) as file, _asked():
        try:
            _restic(repository, file).open()
        except RepositoryKeyWrong:
            return False
    return True


@contextmanager
def _typed_file(typed: Secret) -> Iterator[Path]:
    """What was typed, in a file that only we can read and that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="key-", dir=_private()) as folder:
        file = Path(folder) / "key"
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


def _restic(repository: Repository, password_file: Path | None = None) -> Restic:
    value = repository_place(repository)
    if password_file is not None:
        value = {**value, "password_file": str(password_file)}
    tool = places.runtime().paths.tool("restic")
    if tool is None:
        raise OperationRefused("The program restic is not installed.", remedy="`python3 manage.py up` installs it.")
    place = RepositoryPlace.read(Fields(value, "repository"))
    return Restic(place, tool, Path(settings.VAR_DIR) / "operations" / "cache")


def _key_of(repository: Repository) -> Mapping[str, Any]:
    """restic's description of the key that our password file opens; empty when the repository does not answer."""
    try:
        restic = _restic(repository)
        restic.open()
        keys = restic.keys()
    except (BackupError, OperationRefused, json.JSONDecodeError):
        return {}
    return next((key for key in keys if key.get("current")), {})


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone() if text else None
    except ValueError:
        return None
