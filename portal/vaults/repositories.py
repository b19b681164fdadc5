"""Adding, testing, adopting, changing and removing repositories."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from backups import sftp
from backups.access import Access
from backups.errors import BackupError
from backups.fields import Fields
from backups.place import LOCAL, NEEDED, S3, SFTP, Address, PlaceOptions
from backups.secret import Secret
from portal.core.services import audit
from portal.operations.errors import OperationRefused
from portal.operations.models import Claim, Operation
from portal.operations.services import operation_start
from portal.vaults.bare import repository_init, repository_probe
from portal.vaults.models import Repository, Restore, RestoreState
from portal.vaults.placefiles import PlaceFiles, retire

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
# An address of the portal's pages.
RESERVED = {"add"}
LONGEST = 500
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Added:
    """A new row. `adopting`: the operation that reads what was there already; None for a repository just made."""

    repository: Repository
    report: Report
    adopting: Operation | None


def repository_add(
    *,
    name: str,
    url: str,
    password: Secret | None = None,
    access: Access | None = None,
    append_only: bool = False,
    create_bucket: bool = False,
    user: User | None = None,
) -> Added:
    """Try a place out, make a repository there or adopt the one that our password opens, and remember it.

    Without a password a new one is made; it then lies in `Repository.password_file`. Nothing is left behind when it
    does not work.

    Raises:
        OperationRefused: a value is wrong, or the place cannot be used; `message` begins with the path of a bad value.
        OperationFailed: the repository could not be made.
    """
    address, given = _checked(name, url), access or Access()
    with _files(name) as files:
        row = Repository(name=name, url=url, append_only=append_only)
        row.password_file = files.write("password", password.reveal() if password else secrets.token_urlsafe(32))
        _set_access(row, address, given, files)
        with _explained(has_password=password is not None):
            report = _tried(row, given, files, create_bucket=create_bucket)
        row.restic_id = _made_or_found(row, report, has_password=password is not None)
        return _remember(row, report, user)


def repository_test(*, repository: Repository) -> Report:
    """Try the place of a repository out now; the report as the agent's `probe` gives it.

    Raises:
        OperationFailed: not even that was possible.
    """
    return repository_probe(repository)


def repository_adopt(*, repository: Repository, user: User | None = None) -> Operation:
    """Read all that is in the repository into rows: sets, and the snapshots that are none.

    Raises:
        OperationRefused: somebody holds it exclusively.
    """
    return operation_start(kind="repository.adopt", target=repository.scope, user=user)


def repository_update(
    *,
    repository: Repository,
    url: str | None = None,
    access: Access | None = None,
    append_only: bool | None = None,
    capacity_bytes: int | None = None,
    user: User | None = None,
) -> Report:
    """Change how the same repository is reached; kept only when the known repository is found there.

    Raises:
        OperationRefused: it is not; nothing was changed.
    """
    address, given = _checked_url(url or repository.url), access or Access()
    used = _secret_files(repository)
    with _files(repository.name) as files:
        repository.url = url or repository.url
        repository.append_only = repository.append_only if append_only is None else append_only
        repository.capacity_bytes = repository.capacity_bytes if capacity_bytes is None else capacity_bytes
        _set_access(repository, address, given, files)
        report = _tried(repository, given, files)
        with transaction.atomic():
            repository.save()
            audit(action="repository.changed", target=repository.scope, user=user)
    retire([path for path in used if path not in _secret_files(repository)])
    return report


def repository_remove(*, repository: Repository, confirm: str, user: User | None = None) -> list[str]:
    """Forget a repository: its row and those of its sets. What lies in it stays, and so does its password.

    Returns where its password, credentials and keys are kept from now on.

    Raises:
        OperationRefused: `confirm` is not its name, or something still needs it.
    """
    if confirm != repository.name:
        raise OperationRefused(
            f"confirm: expected the name of the repository, {repository.name}, got {confirm[:60]!r}",
            code="unconfirmed",
            remedy="Type its name to remove it.",
        )
    with transaction.atomic():
        _refuse_needed(repository)
        audit(action="repository.removed", target=repository.scope, user=user, data={"url": repository.url})
        Restore.objects.filter(set__repository=repository).delete()
        repository.sets.all().delete()
        files = _secret_files(repository)
        repository.delete()
    return retire(files)


def _checked(name: str, url: str) -> Address:
    if not NAME.fullmatch(name) or name in RESERVED:
        raise OperationRefused(
            f"name: expected up to 50 letters, digits, - and _, and not `add`, got {name[:60]!r}",
            code="name_invalid",
            remedy="Choose another name.",
        )
    if Repository.objects.filter(name=name).exists():
        raise OperationRefused(
            f"name: there is a repository {name} already", code="name_taken", remedy="Choose another name."
        )
    return _checked_url(url)


def _checked_url(url: str) -> Address:
    with _refusing():
        address = Address.read(url)
    if len(url) > LONGEST:
        raise OperationRefused(f"url: longer than {LONGEST} characters", code="address_invalid")
    stacks = Path(settings.VAR_DIR).resolve() / "stacks"
    if address.kind == LOCAL and Path(address.path).resolve().is_relative_to(stacks):
        raise OperationRefused(
            f"url: {address.path} lies within the data of a stack, which would back itself up",
            code="address_invalid",
            remedy="Choose a folder on another disk.",
        )
    return address


def _set_access(row: Repository, address: Address, given: Access, files: PlaceFiles) -> None:
    """Write what was given into files and name those in the row."""
    lacking = [name for name in NEEDED.get(address.kind, ()) if not given.credentials.get(name)]
    if given.credentials and lacking:
        raise OperationRefused(f"credentials: {' and '.join(lacking)} missing", code="credentials_invalid")
    if address.kind == S3 and lacking and not row.credentials_file:
        raise OperationRefused(
            f"credentials: an object store needs {' and '.join(lacking)}",
            code="credentials_invalid",
            remedy="Give the access key and its secret.",
        )
    with _refusing():
        given.check()
        row.credentials_file = files.credentials(given.credentials) or row.credentials_file
    row.options = {**row.options, **dict(_options(given, files))}
    PlaceOptions.read(Fields(row.options, "options"))


def _options(given: Access, files: PlaceFiles) -> Iterator[tuple[str, Any]]:
    if given.region:
        yield "region", given.region
    if given.port:
        yield "port", given.port
    if given.private_key:
        yield "key_file", files.write("key", given.private_key.replace("\r\n", "\n"))
    if given.ca_certificate:
        yield "ca_file", files.write("ca", given.ca_certificate.replace("\r\n", "\n"))


def _tried(row: Repository, given: Access, files: PlaceFiles, *, create_bucket: bool = False) -> Report:
    """Probe the place, after the key of an SFTP server was confirmed.

    Raises:
        OperationRefused: with the first error that was found.
    """
    if Address.read(row.url).kind == SFTP and (given.host_key or not row.options.get("known_hosts_file")):
        row.options["known_hosts_file"] = _confirmed_hosts(row, given.host_key, files)
    report = repository_probe(row, create_bucket=create_bucket)
    _refuse_errors(report)
    return report


def _refuse_errors(report: Report) -> None:
    for found in report["findings"]:
        if found["level"] == "error":
            raise OperationRefused(found["message"], code=found["code"], remedy=found["remedy"], data=report)


def _confirmed_hosts(row: Repository, fingerprint: str, files: PlaceFiles) -> str:
    """A known_hosts file with the key that the operator confirmed, when the server shows it."""
    report = repository_probe(row)
    shown = sftp.read_keys("\n".join(key["line"] for key in report["host_keys"]))
    if not shown:
        _refuse_errors(report)
    with _refusing():
        lines = [key.line for key in sftp.confirm(shown, fingerprint)]
    return files.write("known_hosts", "\n".join(lines))


@contextmanager
def _explained(*, has_password: bool) -> Iterator[None]:
    """A password that we made ourselves cannot be wrong: then somebody else's repository is there."""
    try:
        yield
    except OperationRefused as refused:
        if has_password or refused.code != "repository_key_wrong":
            raise
        raise OperationRefused(
            "password: a repository is there already, and it takes its own password to open it",
            code="repository_exists",
            remedy="Give the password of that repository to adopt it, or choose another place.",
        ) from None


def _made_or_found(row: Repository, report: Report, *, has_password: bool) -> str:
    """The id of the repository in the place, made now when there was none."""
    if report["repository"] is None:
        return repository_init(row)
    found = str(report["repository"])
    known = Repository.objects.filter(restic_id=found).exclude(pk=row.pk).first()
    if known:
        raise OperationRefused(
            f"url: the repository there, {found[:8]}, is known already as {known.name}",
            code="repository_known",
            remedy="Use that one.",
        )
    return found


def _remember(row: Repository, report: Report, user: User | None) -> Added:
    with transaction.atomic():
        row.save()
        audit(action="repository.created", target=row.scope, user=user, data={"url": row.url, "id": row.restic_id})
        adopting = repository_adopt(repository=row, user=user) if report["repository"] else None
    return Added(row, report, adopting)


def _refuse_needed(repository: Repository) -> None:
    """Refuse while plans, copies, kept restores or active operations need the repository."""
    for count, what, remedy in _needs(repository):
        if count:
            raise OperationRefused(f"The repository {repository.name} is still needed: {what}.", remedy=remedy)


def _needs(repository: Repository) -> Iterable[tuple[int, str, str]]:
    plans = ", ".join(repository.plans.values_list("name", flat=True))
    copying = ", ".join(repository.copied_from.values_list("name", flat=True))
    kept = Restore.objects.filter(set__repository=repository, state=RestoreState.KEPT).count()
    yield len(plans), f"the plans {plans} use it", "Give those plans another repository first."
    yield len(copying), f"sets of {copying} are copied to it", "End that copying first."
    yield kept, "a restore from it can still be undone", "Confirm or undo that restore first."
    held = Claim.objects.filter(scope=repository.scope).count()
    yield held, "an operation is at work on it", "Wait until it ends, or cancel it."


def _secret_files(repository: Repository) -> list[str]:
    names = ("key_file", "ca_file", "known_hosts_file")
    options = [str(repository.options[name]) for name in names if repository.options.get(name)]
    others = (repository.password_file, repository.credentials_file, repository.prune_credentials_file)
    return [path for path in (*others, *options) if path]


@contextmanager
def _files(name: str) -> Iterator[PlaceFiles]:
    """New secret files that stay only when everything works."""
    files = PlaceFiles(name)
    try:
        yield files
    except BaseException:
        files.drop()
        raise


@contextmanager
def _refusing() -> Iterator[None]:
    """A bad value as a refusal."""
    try:
        yield
    except BackupError as error:
        raise OperationRefused(error.message, code=error.code, remedy=error.remedy, data=error.data) from None
