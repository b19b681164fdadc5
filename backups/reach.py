"""Whether the place of a repository answers and accepts us, asked without restic, within seconds."""

from __future__ import annotations

import os
from collections.abc import Mapping

from backups import place as places
from backups import rest, s3, sftp
from backups.errors import AddressInvalid, BackupError, RepositoryError
from backups.job import RepositoryPlace
from backups.place import CREDENTIAL_PREFIXES, LOCAL, REST, S3, SFTP, Address


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
