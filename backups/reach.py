"""Whether the place of a repository answers and accepts us, asked without restic, within seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from backups import place as places
from backups import rest, s3, sftp
from backups.errors import AddressInvalid, BackupError, RepositoryError, RepositoryUnreachable, ResticFailed
from backups.job import RepositoryPlace
from backups.place import CREDENTIAL_PREFIXES, LOCAL, REST, S3, SFTP, Address

Result = TypeVar("Result")

# How long a server may stay away in the middle of something (restic itself waits as long for one that speaks HTTP), and
# how often it is asked.
PATIENCE_SECONDS = 900.0
POLL_SECONDS = 2.0
# How often something is done in all. What is stored stays stored, so storing goes on; reading begins anew each time,
# and what fails twice fails for another reason than a broken line.
RUNS, READINGS = 4, 2


def address_of(place: RepositoryPlace) -> Address | None:
    """The address taken apart; None for what restic knows and this program does not."""
    try:
        return Address.read(place.url)
    except AddressInvalid:
        return None


def credentials_of(place: RepositoryPlace, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """The place's own credentials; without a file those of our environment.

    Raises:
        CredentialsInvalid
    """
    if place.credentials_file is not None:
        return places.read_credentials(place.credentials_file)
    own = os.environ if inherited is None else inherited
    return {name: value for name, value in own.items() if name.startswith(CREDENTIAL_PREFIXES)}


def demand(place: RepositoryPlace) -> None:
    """Prove that a place behind a network answers and accepts us; whether a repository is there does not matter.

    Raises:
        RepositoryError: see backups.s3, backups.sftp and backups.rest.
    """
    address = address_of(place)
    if address is None or address.kind == LOCAL:
        return
    credentials = credentials_of(place)
    if address.kind == S3 and (place.credentials_file or "AWS_ACCESS_KEY_ID" in credentials):
        s3.Bucket.connect(address, place.options, credentials).demand()
    elif address.kind == REST:
        rest.demand(address, place.options, credentials)
    elif address.kind == SFTP:
        sftp.demand(address, place.options)


def trouble(place: RepositoryPlace) -> RepositoryError | None:
    """Why restic may have failed at this place, if that can be found out now."""
    address = address_of(place)
    try:
        demand(place)
        if address is not None and address.kind == SFTP:
            sftp.sign_in(address, place.options)
    except RepositoryError as found:
        return found
    except BackupError:
        return None
    return None


def ridden_out(
    place: RepositoryPlace,
    work: Callable[[], Result],
    *,
    again: Callable[[], object] = lambda: None,
    runs: int = RUNS,
    patience: float | None = None,
) -> Result:
    """Do `work`, and again after a connection to an SFTP server broke and the server is back.

    Over HTTP restic itself goes on trying for a quarter of an hour; over SFTP it gives up as soon as ssh ends.

    Args:
        again: done before each repetition: clears away what a run that was broken off left behind.
        runs: how often `work` is done at most.
        patience: seconds that the server may stay away each time; PATIENCE_SECONDS unless told.

    Raises:
        RepositoryUnreachable: the server stayed away for longer.
        RepositoryError: as `work`.
    """
    address = address_of(place)
    for left in reversed(range(runs)):
        try:
            return work()
        except (ResticFailed, RepositoryUnreachable):
            if not left or address is None or address.kind != SFTP:
                raise
        _wait_for(place, time.monotonic() + (PATIENCE_SECONDS if patience is None else patience))
        again()
    raise AssertionError("unreachable")


def _wait_for(place: RepositoryPlace, end: float) -> None:
    """Return when the place answers and accepts us.

    Raises:
        RepositoryError: it does not, until `end`, or refuses us.
    """
    while found := trouble(place):
        if not isinstance(found, RepositoryUnreachable) or time.monotonic() > end:
            raise found
        time.sleep(POLL_SECONDS)
