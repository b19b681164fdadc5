"""What somebody gives to reach a repository beyond its address: on a command line, or on a page of the portal.

The options of the command lines are declared here once; the portal's verbs and the rescue commands take the same.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backups import sftp
from backups.errors import CredentialsInvalid
from backups.job import RepositoryPlace
from backups.place import Address, credentials_text, is_known_kind, parse_credentials
from backups.restic import local_folder
from backups.secret import write_secret

FILE = "FILE"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command line. `value`: what stands for the word behind it; that of a `FILE` is a path."""

    flag: str
    value: str
    help: str

    @property
    def is_file(self) -> bool:
        return self.value == FILE


OPTIONS = (
    Option("--credentials-file", FILE, "NAME=VALUE lines for the server."),
    Option("--key-file", FILE, "Private key for an SFTP server."),
    Option("--host-key", "SHA256:...", "Fingerprint that an SFTP server must show."),
    Option("--ca-file", FILE, "Certificate of the authority behind https."),
    Option("--region", "TEXT", "Region of an object store."),
)


@dataclass(frozen=True, slots=True)
class Access:
    """What an operator gives to reach a place. What is left empty is not needed, or stays as it is.

    `host_key`: the fingerprint, SHA256:..., that the SFTP server must show; `private_key`, `ca_certificate`: contents,
    not paths; `region` of an object store; `port` of an SFTP server.
    """

    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    private_key: str = field(default="", repr=False)
    host_key: str = ""
    ca_certificate: str = ""
    region: str = ""
    port: int | None = None

    def check(self) -> None:
        """Refuse what can be seen to be no key and no certificate.

        Raises:
            CredentialsInvalid: naming the value, never holding it.
        """
        if self.private_key and "PRIVATE KEY-----" not in self.private_key:
            raise CredentialsInvalid(
                "private_key: this is no private key as ssh-keygen writes it",
                "Give the file whose name does not end in .pub. The key of the repository itself is its password.",
            )
        if self.ca_certificate and not _is_certificate(self.ca_certificate):
            raise CredentialsInvalid(
                "ca_certificate: this is no certificate in PEM form",
                "Give the authority's certificate; it begins with -----BEGIN CERTIFICATE-----.",
            )


def _is_certificate(text: str) -> bool:
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        return False
    return True


def read_file(path: Path | None) -> str:
    """What a file holds, without the newline at its end; nothing without one.

    Raises:
        CredentialsInvalid: it cannot be read.
    """
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not text"
        raise CredentialsInvalid(f"{path} cannot be read: {why}", "Check the path, and who may read it.") from None


def read_access(given: Mapping[str, Any], read: Callable[[Path | None], str] = read_file) -> Access:
    """The values of OPTIONS, by their names as argparse and click make them, with the contents of the files.

    Raises:
        CredentialsInvalid: a file cannot be read, or is not what it must be.
    """
    credentials = given["credentials_file"]
    access = Access(
        credentials=parse_credentials(read(credentials), str(credentials)),
        private_key=read(given["key_file"]),
        host_key=given["host_key"] or "",
        ca_certificate=read(given["ca_file"]),
        region=given["region"] or "",
    )
    access.check()
    return access


def place_named(url: str, password_file: Path) -> RepositoryPlace:
    """A repository that is named on a command line; a folder's path becomes a whole one.

    Raises:
        AddressInvalid
    """
    folder = local_folder(url)
    place = RepositoryPlace("", str(folder.absolute()) if folder else url, password_file)
    if is_known_kind(url):
        Address.read(place.url)
    return place


def reached_by(place: RepositoryPlace, access: Access, folder: Path) -> RepositoryPlace:
    """The place as it is reached by what was given, which goes before what the place names itself.

    Files are written into `folder` for its owner alone: ssh takes no key that others may read. An SFTP server's own
    key must have been confirmed: by the fingerprint, by the place's own hosts file, or to this account's ssh.

    Raises:
        HostKeyUnknown, HostKeyChanged: with the `host_keys` that are shown.
        RepositoryUnreachable: the SFTP server does not answer.
        ToolMissing: there is no ssh here.
    """
    credentials = credentials_text(access.credentials)
    found: dict[str, Any] = {
        "region": access.region,
        "port": access.port,
        "key_file": _written(folder / "key", access.private_key),
        "ca_file": _written(folder / "ca", access.ca_certificate),
    }
    options = replace(place.options, **{name: value for name, value in found.items() if value})
    if place.url.startswith("sftp:") and (access.host_key or options.known_hosts_file is None):
        keys = sftp.confirmed(Address.read(place.url), options, access.host_key)
        lines = "\n".join(key.line for key in keys)
        options = replace(options, known_hosts_file=_written(folder / "known_hosts", lines))
    return replace(
        place, credentials_file=_written(folder / "credentials", credentials) or place.credentials_file, options=options
    )


def _written(path: Path, text: str) -> Path | None:
    if not text:
        return None
    write_secret(path, text.replace("\r\n", "\n"))
    return path
