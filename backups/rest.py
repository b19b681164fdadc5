"""Looking at a REST server before restic does."""

from __future__ import annotations

import base64
import secrets
import ssl
from collections.abc import Iterator, Mapping
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from backups.errors import RepositoryRefused, RepositoryUnreachable
from backups.findings import WARNING, Finding
from backups.place import Address, PlaceOptions

SECONDS = 10


def demand(address: Address, options: PlaceOptions, credentials: Mapping[str, str]) -> None:
    """Prove that the server answers and accepts the credentials; whether a repository is there does not matter.

    Raises:
        RepositoryUnreachable, RepositoryRefused
    """
    status = _ask("HEAD", "config", address, options, credentials)
    if status in (401, 403):
        raise RepositoryRefused(f"the REST server {address.endpoint} refuses these credentials (status {status})")
    if status >= 500:
        raise RepositoryUnreachable(f"the REST server {address.endpoint} has a problem (status {status})")


def look(address: Address, options: PlaceOptions, credentials: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the server lets data be removed, asked about a pack that does not exist.

    Raises:
        RepositoryUnreachable, RepositoryRefused
    """
    demand(address, options, credentials)
    removes = _ask("DELETE", f"data/{secrets.token_hex(32)}", address, options, credentials) != 403
    if options.append_only and removes:
        yield Finding(
            WARNING,
            "removes",
            "Append-only in name only: this server removes what it is told to.",
            "Start it with --append-only, as docs/how-to/repositories.md shows.",
        )
    if not options.append_only and not removes:
        yield Finding(
            WARNING,
            "no_removal",
            "The server is append-only: retention and pruning will be refused.",
            "Mark the repository as append-only, and give a second address for pruning.",
        )


def _ask(method: str, name: str, address: Address, options: PlaceOptions, credentials: Mapping[str, str]) -> int:
    """The status of the answer.

    Raises:
        RepositoryUnreachable: there is none.
    """
    url = f"{address.endpoint}{address.path.rstrip('/')}/{name}"
    request = Request(url, method=method, headers=_headers(credentials))  # noqa: S310 - http(s), see Address
    context = ssl.create_default_context(cafile=options.ca_file) if address.scheme == "https" else None
    try:
        with urlopen(request, timeout=SECONDS, context=context) as answer:  # noqa: S310
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except URLError as error:
        raise _unreachable(address, untrusted=isinstance(error.reason, ssl.SSLCertVerificationError)) from None
    except OSError:
        raise _unreachable(address, untrusted=False) from None


def _unreachable(address: Address, *, untrusted: bool) -> RepositoryUnreachable:
    if untrusted:
        return RepositoryUnreachable(
            f"the certificate of {address.endpoint} is not one that this machine trusts",
            "Give the certificate of the authority that issued it (on a command line: --ca-file FILE).",
        )
    return RepositoryUnreachable(f"the REST server {address.endpoint} does not answer")


def _headers(credentials: Mapping[str, str]) -> dict[str, str]:
    user = credentials.get("RESTIC_REST_USERNAME")
    if not user:
        return {}
    pair = f"{user}:{credentials.get('RESTIC_REST_PASSWORD', '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
