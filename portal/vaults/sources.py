"""Further sources of a stack: adding, trying out, listing and removing them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from backups.extra import OWN_SOURCES
from backups.secret import Secret, write_secret
from backups.sources.portal import NAME as PORTAL
from portal.core.services import audit
from portal.operations.errors import InputInvalid, OperationRefused
from portal.vaults.bare import sources_look
from portal.vaults.models import ExtraSource, Plan, Repository, SourceKind
from portal.vaults.selectors import set_last_good

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:_-]{0,252})")
OWN_TITLES = {
    "documents": "Files as people uploaded them",
    "vectors": "Chroma's store",
    "models": "Manifests and files of the models",
    "postgres": "The database of the RAG service",
    "config": "What the stack was started with",
    PORTAL: "Plans, accounts and history of this portal",
}
DEFAULT_PORTS = {SourceKind.POSTGRES: 5432, SourceKind.REDIS: 6379}


class SourceFields(TypedDict, total=False):
    """What one can say about a source.

    folder: `path`, `mountpoint`, `may_be_empty`. postgres: `database`, and for another server than the stack's own
    `host`, `port`, `role`, `password`. redis: `host`, `port`, `password`; nothing for the stack's own.
    """

    path: str
    mountpoint: bool
    may_be_empty: bool
    host: str
    port: int | None
    role: str
    database: str
    password: Secret | None


@dataclass(frozen=True, slots=True)
class Tried:
    """How a source was found: all well without a `message`."""

    message: str = ""
    remedy: str = ""

    @property
    def ok(self) -> bool:
        return not self.message


def source_list(*, stack: str) -> list[ExtraSource]:
    """The further sources of a stack, by name."""
    return list(ExtraSource.objects.filter(stack=stack))


def source_add(
    *, stack: str, name: str, kind: str, user: User | None = None, **values: Unpack[SourceFields]
) -> ExtraSource:
    """Try a source out and make it part of the stack's sets from the next one on.

    Raises:
        InputInvalid: with a sentence for every field that is wrong; nothing is stored then.
        OperationRefused: the source is not as a backup needs it.
        OperationFailed: it could not be tried out.
    """
    row = ExtraSource(stack=stack, name=name, kind=kind, settings=_read(stack, name, kind, values))
    secret = _keep(row, values.get("password"))
    try:
        tried = source_test(source=row)
        if not tried.ok:
            raise OperationRefused(tried.message, code="source_unusable", remedy=tried.remedy)
        with transaction.atomic():
            row.save()
            audit(action="source.added", target=_target(row), user=user, data={"kind": kind})
    except BaseException:
        if secret:
            secret.unlink(missing_ok=True)
        raise
    return row


def source_test(*, source: ExtraSource) -> Tried:
    """Look whether a backup would find the source as it must be; changes nothing.

    Raises:
        OperationFailed: not even that was possible.
    """
    found = sources_look(source.stack, [source])[source.name]
    return Tried(f"{found['message'][:1].upper()}{found['message'][1:]}.", found["remedy"]) if found else Tried()


def source_remove(*, source: ExtraSource, confirm: str, user: User | None = None) -> None:
    """Leave a source out of further sets. What sets hold of it stays in them.

    Raises:
        OperationRefused: `confirm` is not its name, or a plan names it.
    """
    if confirm != source.name:
        raise OperationRefused(
            f"confirm: expected the name of the source, {source.name}, got {confirm[:60]!r}.",
            code="unconfirmed",
            remedy="Type its name to remove it.",
        )
    plans = [plan.name for plan in Plan.objects.filter(stack=source.stack) if source.name in plan.sources]
    if plans:
        raise OperationRefused(
            f"The plan {plans[0]} names the source {source.name}.",
            code="in_use",
            remedy="Take it out of the sources of that plan first.",
        )
    password = str(source.settings.get("password_file") or "")
    with transaction.atomic():
        audit(action="source.removed", target=_target(source), user=user, data={"kind": source.kind})
        source.delete()
        if password and Path(password).parent == _folder():
            transaction.on_commit(lambda: Path(password).unlink(missing_ok=True))


def _read(stack: str, name: str, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a new source, checked.

    Raises:
        InputInvalid
    """
    wrong: dict[str, str] = {}
    if sentence := _wrong_name(stack, name):
        wrong["name"] = sentence
    readers: dict[str, Callable[[Mapping[str, Any], dict[str, str]], dict[str, Any]]] = {
        SourceKind.FOLDER: _folder_read,
        SourceKind.POSTGRES: _postgres_read,
        SourceKind.REDIS: partial(_server_read, SourceKind.REDIS),
    }
    if kind not in readers:
        raise InputInvalid({**wrong, "kind": f"Choose one of {', '.join(readers)}; got {kind!r:.40}."})
    found = readers[kind](values, wrong)
    if wrong:
        raise InputInvalid(wrong)
    return found


def _wrong_name(stack: str, name: str) -> str:
    if not NAME.fullmatch(name):
        return f"Use small letters, digits, - and _, at most 40 of them; got {name!r:.60}."
    if name in (*OWN_SOURCES, PORTAL):
        return f"Every set has a source {name} already; choose another name."
    if ExtraSource.objects.filter(stack=stack, name=name).exists():
        return f"There is a source {name} already."
    return ""


def _folder_read(values: Mapping[str, Any], wrong: dict[str, str]) -> dict[str, Any]:
    text = str(values.get("path") or "").strip()
    path = Path(text)
    if not text.startswith("/") or path.resolve() == Path("/") or "\0" in text:
        wrong["path"] = f"Name a folder by its whole path, e.g. /srv/wiki; got {text!r:.60}."
    elif _holds(path, Path(settings.VAR_DIR)):
        wrong["path"] = f"{path} holds Ragkeep's own data, {settings.VAR_DIR}: sets would hold themselves."
    elif holder := next((r for r in Repository.objects.all() if r.is_local and _meet(path, Path(r.url))), None):
        wrong["path"] = f"{path} and the repository {holder.name} at {holder.url} lie in one another."
    return {
        "path": str(path),
        "mountpoint": bool(values.get("mountpoint")),
        "may_be_empty": bool(values.get("may_be_empty")),
    }


def _postgres_read(values: Mapping[str, Any], wrong: dict[str, str]) -> dict[str, Any]:
    database = str(values.get("database") or "")
    if not database or "\0" in database or len(database.encode()) > 63:
        wrong["database"] = "Name the database, with at most 63 characters."
    found = _server_read(SourceKind.POSTGRES, values, wrong)
    if "host" in found:
        found["user"] = str(values.get("role") or "")
        if not found["user"]:
            wrong["role"] = "Name the role that may read the database."
        if not values.get("password"):
            wrong["password"] = "Give the password of that role."  # noqa: S105 - a sentence
    elif database == "rag":
        wrong["database"] = "The stack's own database is in every set already."
    return {**found, "database": database}


def _server_read(kind: SourceKind, values: Mapping[str, Any], wrong: dict[str, str]) -> dict[str, Any]:
    host, port = str(values.get("host") or "").strip(), values.get("port")
    if not host:
        if port or values.get("password"):
            wrong["host"] = "Name the server, or leave port and password empty for the stack's own."
        return {"own": True}
    if not HOST.fullmatch(host):
        wrong["host"] = f"Give a host name or an address; got {host!r:.60}."
    number = DEFAULT_PORTS[kind] if port is None else port
    if not 1 <= number <= 65535:
        wrong["port"] = f"A port is a number from 1 to 65535; got {number}."
    return {"host": host, "port": number}


def _keep(row: ExtraSource, password: Secret | None) -> Path | None:
    """Write the password beside the database, and its path into the row."""
    if password is None or not password.reveal():
        return None
    path = _folder() / f"{row.stack}-{row.name}.password"
    # What lies there belongs to a row that is gone: no two sources of a stack share a name.
    path.unlink(missing_ok=True)
    write_secret(path, password.reveal())
    row.settings["password_file"] = str(path)
    return path


def _folder() -> Path:
    path = Path(settings.VAR_DIR) / "control" / "secrets" / "sources"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _holds(outer: Path, inner: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


def _meet(one: Path, other: Path) -> bool:
    return _holds(one, other) or _holds(other, one)


def _target(source: ExtraSource) -> str:
    return f"source:{source.stack}/{source.name}"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source as a list shows it. `figures`: files, bytes and bytes_added of the last good set; None before one."""

    name: str
    title: str
    where: str
    figures: dict[str, Any] | None
    further: bool = False


def source_rows(*, stack: str) -> list[SourceRow]:
    """Every source of a stack's sets: those of every stack, the portal, the further ones."""
    good = set_last_good(stack=stack)
    held: dict[str, Any] = good.sources if good else {}
    own = [SourceRow(name, title, "in every set", held.get(name)) for name, title in OWN_TITLES.items()]
    further = [
        SourceRow(row.name, row.get_kind_display(), where_of(row), held.get(row.name), True)
        for row in source_list(stack=stack)
    ]
    return own + further


def where_of(source: ExtraSource) -> str:
    """Where a source is, in words; never a secret."""
    told = source.settings
    if source.kind == SourceKind.FOLDER:
        return f"{told['path']}{', mounted' if told.get('mountpoint') else ''}"
    server = "the stack's own server" if told.get("own") else f"{told['host']}:{told['port']}"
    return f"{told['database']} on {server}" if source.kind == SourceKind.POSTGRES else server
