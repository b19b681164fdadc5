"""The recovery card: what to keep away from the machine, and what to type on a blank one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.utils import timezone

from backups import sftp
from backups.errors import AddressInvalid
from backups.fields import Fields
from backups.place import SFTP, Address, PlaceOptions
from portal.vaults.keyproof import keyproof_last, repository_key
from portal.vaults.models import Plan, Repository

ACCOUNT_KEYS = "~/.ssh of the account that Ragkeep runs as"


@dataclass(frozen=True, slots=True)
class Needed:
    """A file that it takes besides the key. `word` stands for it in the command; `path`: where it lies today."""

    what: str
    flag: str
    word: str
    path: str


@dataclass(frozen=True, slots=True)
class RecoveryCard:
    """What a recovery needs, for paper. `key_id`: restic's id of the key, empty when the repository does not answer.

    `needed`: the files to keep besides the key; `facts`: options of the command that hold their value themselves.
    """

    repository: str
    url: str
    restic_id: str
    key_id: str
    key_made_at: datetime | None
    password_file: str
    needed: tuple[Needed, ...]
    facts: tuple[tuple[str, str], ...]
    stacks: tuple[str, ...]
    made_at: datetime
    proven_at: datetime | None

    @property
    def command(self) -> str:
        """What to type on a blank machine."""
        files = [word for one in self.needed for word in (one.flag, one.word)]
        facts = [word for fact in self.facts for word in fact]
        words = ["--repository", self.url, "--password-file", "KEY_FILE", *files, *facts]
        return shlex.join(["python3", "manage.py", "recover", *words])

    def to_json(self) -> dict[str, Any]:
        """The card as `--json` prints it."""
        return {
            "repository": self.repository,
            "url": self.url,
            "restic_id": self.restic_id,
            "key_id": self.key_id,
            "key_made_at": self.key_made_at,
            "password_file": self.password_file,
            "needed": [asdict(one) for one in self.needed],
            "stacks": list(self.stacks),
            "made_at": self.made_at,
            "proven_at": self.proven_at,
            "command": self.command,
        }


def recovery_card(repository: Repository) -> RecoveryCard:
    """The card of a repository; it asks the repository which of its keys is ours."""
    key = repository_key(repository)
    last = keyproof_last(repository)
    options = PlaceOptions.read(Fields(repository.options, "options"))
    stacks = Plan.objects.filter(repository=repository).values_list("stack", flat=True).distinct()
    return RecoveryCard(
        repository=repository.name,
        url=address_typed(repository.url, options),
        restic_id=repository.restic_id,
        key_id=str(key.get("id", "")),
        key_made_at=_moment(key.get("created")),
        password_file=repository.password_file,
        needed=tuple(_needed(repository, options)),
        facts=tuple(_facts(options)),
        stacks=tuple(sorted(stacks)),
        made_at=timezone.now(),
        proven_at=last.created_at if last else None,
    )


def address_typed(url: str, options: PlaceOptions) -> str:
    """The address with all that is needed in it: a port that the portal keeps beside it has no option of its own."""
    try:
        found = Address.read(url)
    except AddressInvalid:
        return url
    if found.kind != SFTP or not options.port:
        return url
    host = f"[{found.host}]" if ":" in found.host else found.host
    return f"sftp://{f'{found.user}@' if found.user else ''}{host}:{options.port}/{found.path}"


def _needed(repository: Repository, options: PlaceOptions) -> Iterator[Needed]:
    if repository.credentials_file:
        file = repository.credentials_file
        yield Needed("The file with the credentials", "--credentials-file", "CREDENTIALS_FILE", file)
    if repository.url.startswith("sftp:"):
        path = str(options.key_file or ACCOUNT_KEYS)
        yield Needed("The private SSH key for the server", "--key-file", "SSH_KEY_FILE", path)
    if options.ca_file:
        yield Needed("The certificate of the authority", "--ca-file", "CA_FILE", str(options.ca_file))


def _facts(options: PlaceOptions) -> Iterator[tuple[str, str]]:
    """What is no secret stands on the card itself."""
    if options.region:
        yield "--region", options.region
    fingerprint = _fingerprint(options.known_hosts_file)
    if fingerprint:
        yield "--host-key", fingerprint


def _fingerprint(known_hosts: Path | None) -> str:
    """Of the server's key that was confirmed; empty when its file is gone, then it has to be confirmed anew."""
    try:
        keys = sftp.read_keys(known_hosts.read_text(encoding="utf-8")) if known_hosts else []
        return keys[0].fingerprint if keys else ""
    except (OSError, ValueError):
        return ""


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone() if text else None
    except ValueError:
        return None
