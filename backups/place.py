"""Where a repository lies: its address taken apart, and what it takes to reach it. Pure, but for reading one file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from backups.errors import AddressInvalid, CredentialsInvalid
from backups.fields import Fields

LOCAL, S3, SFTP, REST = "local", "s3", "sftp", "rest"
EXAMPLES = {
    LOCAL: "/mnt/backup/ragkeep",
    S3: "s3:https://HOST/BUCKET/PREFIX",
    SFTP: "sftp:USER@HOST:/FOLDER",
    REST: "rest:https://HOST:8000/NAME/",
}
# Other back ends of restic: the rescue commands reach them, the portal does not offer them.
_OTHERS = ("b2:", "azure:", "gs:", "swift:", "rclone:")
# What restic may be given from a credentials file; anything else in it is a mistake.
CREDENTIAL_PREFIXES = ("AWS_", "B2_", "AZURE_", "GOOGLE_", "RESTIC_REST_", "OS_", "ST_")
NEEDED = {
    S3: ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    REST: ("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"),
}
_PORTS = {"http": 80, "https": 443, "sftp": 22}
# A dead connection is noticed after 12 minutes, so that a network cut of 10 is ridden out.
_ACCOUNT_HOSTS = "~/.ssh/known_hosts"
_KEEP_ALIVE = ("-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=24")
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_SCP = re.compile(r"(?:(?P<user>[^@/]+)@)?(?P<host>\[[^\]]+\]|[^:/@]+):(?P<path>.*)")


@dataclass(frozen=True, slots=True)
class Address:
    """A repository's address. `path`: its folder, in a bucket the prefix; `port` is never 0 behind a network."""

    kind: str
    path: str
    host: str = ""
    port: int = 0
    user: str = ""
    bucket: str = ""
    scheme: str = ""

    @property
    def endpoint(self) -> str:
        """The server of an object store or REST server, e.g. `https://host:9000`."""
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"

    @classmethod
    def read(cls, url: str) -> Address:
        """Take an address apart.

        Raises:
            AddressInvalid: it is of no kind that is known here, or carries a password.
        """
        if url.startswith("s3:"):
            return _s3(url)
        if url.startswith("rest:"):
            return _rest(url)
        if url.startswith("sftp:"):
            return _sftp(url)
        folder = url.removeprefix("local:")
        if url.startswith(_OTHERS) or not folder.startswith("/"):
            raise _invalid(url, "expected a folder that begins with /, or an address like " + " or ".join(_remote()))
        return cls(LOCAL, str(Path(folder)))


def is_known_kind(url: str) -> bool:
    """Whether an address is, or is meant to be, of a kind that is taken apart here."""
    return not url.startswith(_OTHERS)


def _s3(url: str) -> Address:
    rest = url.removeprefix("s3:").removeprefix("//")
    parts = _split(url, rest if "://" in rest else f"https://{rest}", S3)
    bucket, _, prefix = parts.path.strip("/").partition("/")
    if not bucket:
        raise _invalid(url, f"the name of the bucket is missing; expected {EXAMPLES[S3]}")
    return Address(S3, prefix, parts.hostname or "", _port(url, parts), bucket=bucket, scheme=parts.scheme)


def _rest(url: str) -> Address:
    parts = _split(url, url.removeprefix("rest:"), REST)
    return Address(REST, parts.path or "/", parts.hostname or "", _port(url, parts), scheme=parts.scheme)


def _sftp(url: str) -> Address:
    if url.startswith("sftp://"):
        parts = _split(url, url, SFTP)
        # restic takes the path behind the first slash: two of them make it absolute.
        return Address(SFTP, parts.path[1:], parts.hostname or "", _port(url, parts), user=parts.username or "")
    found = _SCP.fullmatch(url.removeprefix("sftp:"))
    if found is None or not found["path"]:
        raise _invalid(url, f"expected {EXAMPLES[SFTP]}")
    return Address(SFTP, found["path"], found["host"].strip("[]"), _PORTS["sftp"], user=found["user"] or "")


def _split(url: str, text: str, kind: str) -> SplitResult:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _invalid(url, f"expected {EXAMPLES[kind]}") from None
    if parts.password or (parts.username and kind != SFTP):
        raise AddressInvalid(
            "url: the address holds a user or a password, which everybody could read there",
            "Leave them out of the address and give them as credentials.",
        )
    if parts.scheme not in _PORTS or not parts.hostname or (parts.scheme == "sftp") != (kind == SFTP):
        raise _invalid(url, f"expected {EXAMPLES[kind]}")
    return parts


def _port(url: str, parts: SplitResult) -> int:
    try:
        return parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise _invalid(url, "the port is no number from 1 to 65535") from None


def _invalid(url: str, wanted: str) -> AddressInvalid:
    return AddressInvalid(f"url: {wanted}, got {url[:80]!r}")


def _remote() -> list[str]:
    return [example for kind, example in EXAMPLES.items() if kind != LOCAL]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """How to reach a repository beyond its address.

    `ca_file`: certificates that https may rest on; `key_file`, `known_hosts_file`, `port`: of an SFTP server;
    `append_only`: the credential may add and read, not remove.
    """

    region: str = ""
    ca_file: Path | None = None
    key_file: Path | None = None
    known_hosts_file: Path | None = None
    port: int | None = None
    append_only: bool = False

    @classmethod
    def read(cls, fields: Fields) -> PlaceOptions:
        return cls(
            region=fields.text_or_none("region") or "",
            ca_file=_path(fields, "ca_file"),
            key_file=_path(fields, "key_file"),
            known_hosts_file=_path(fields, "known_hosts_file"),
            port=fields.integer("port") if fields.has("port") else None,
            append_only=fields.flag("append_only", False),
        )

    def to_json(self) -> dict[str, Any]:
        """What is set, as `read` takes it."""
        found = {field.name: getattr(self, field.name) for field in fields_of(self)}
        return {name: str(value) if isinstance(value, Path) else value for name, value in found.items() if value}


NO_OPTIONS = PlaceOptions()


def _path(fields: Fields, key: str) -> Path | None:
    text = fields.text_or_none(key)
    return Path(text) if text else None


def ssh_argv(*options: PlaceOptions) -> tuple[str, ...]:
    """The words for `ssh` and `sftp`: this key and these hosts only, no question ever, and a patient connection.

    Without a key or hosts file those of the account are used; the host's key must be known in any case. Given the
    options of several servers, the words do for each of them.
    """
    words: list[str] = []
    keys = dict.fromkeys(one.key_file for one in options)
    for key in filter(None, keys):
        words += ["-i", str(key)]
    words += [] if None in keys else ["-o", "IdentitiesOnly=yes"]
    hosts = dict.fromkeys(one.known_hosts_file for one in options)
    if any(hosts):
        files = " ".join(f'"{file}"' if file else _ACCOUNT_HOSTS for file in hosts)
        words += ["-o", f"UserKnownHostsFile={files}"]
        words += [] if None in hosts else ["-o", "GlobalKnownHostsFile=/dev/null"]
    words += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", *_KEEP_ALIVE]
    return tuple(words)


def restic_options(kind: str, options: PlaceOptions, *others: PlaceOptions) -> tuple[str, ...]:
    """restic's global options for a place; they stand before the command.

    Args:
        others: of SFTP servers that the same restic has to reach.
    """
    words: list[str] = []
    if options.ca_file:
        words += ["--cacert", str(options.ca_file)]
    if kind == SFTP:
        port = ("-p", str(options.port)) if options.port else ()
        words += ["-o", _option(f"sftp.args={shlex.join([*port, *ssh_argv(options, *others)])}")]
    if kind == S3 and options.region:
        words += ["-o", _option(f"s3.region={options.region}")]
    return tuple(words)


def _option(text: str) -> str:
    """restic reads what follows -o as a line of CSV."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set('",\n') else text


def read_credentials(path: Path | None) -> dict[str, str]:
    """The credentials of a file of NAME=VALUE lines; none without a file. A message never holds a value.

    Raises:
        CredentialsInvalid: it cannot be read, or a line is not one.
    """
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CredentialsInvalid(f"the credentials file {path} cannot be read: {reason}") from None
    return parse_credentials(text, str(path))


def parse_credentials(text: str, name: str) -> dict[str, str]:
    """NAME=VALUE lines; empty lines, `#` comments and a leading `export` are passed over, quotes taken off.

    Raises:
        CredentialsInvalid: naming the line.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("export ").strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        if not equals or not _NAME.fullmatch(key.strip()):
            raise CredentialsInvalid(f"{name}: line {number}: expected NAME=VALUE")
        found[key.strip()] = _unquoted(value.strip())
    check_credentials(found, name)
    return found


def credentials_text(values: Mapping[str, str]) -> str:
    """Credentials as the lines that `parse_credentials` reads."""
    return "\n".join(f"{name}={value}" for name, value in values.items())


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def check_credentials(found: Mapping[str, str], name: str) -> None:
    """Refuse what no place asks for: a mistyped name would be missed by nobody until the access is refused.

    Raises:
        CredentialsInvalid
    """
    for key in found:
        if not key.startswith(CREDENTIAL_PREFIXES):
            known = ", ".join(word for words in NEEDED.values() for word in words)
            raise CredentialsInvalid(f"{name}: {key} is no credential; expected names like {known}")
