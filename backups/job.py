"""The job that the portal, or a rescue command, hands to the agent: one JSON object on one line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backups.errors import JobInvalid
from backups.extra import OWN_SOURCES, ExtraSpec, read_chosen, read_extra
from backups.fields import Fields
from backups.limits import NONE, Limits
from backups.place import NO_OPTIONS, PlaceOptions
from backups.secret import Secret

KINDS = (
    "backup", "preflight", "stage", "swap", "unswap", "discard", "canary", "init", "stats", "snapshots",
    "probe", "adopt", "describe", "look",
    "check", "repair", "forget", "prune", "unlock", "copy", "measure", "verify",
    "kept", "extract", "readmit", "tree",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where the stack's database is; the password is read from its file when it is needed."""

    host: str
    port: int
    user: str
    database: str
    password_file: Path

    def password(self) -> Secret:
        return Secret.from_file(self.password_file)

    @classmethod
    def read(cls, fields: Fields) -> PostgresServer:
        return cls(
            host=fields.filled("host"),
            port=fields.integer("port"),
            user=fields.filled("user"),
            database=fields.filled("database"),
            password_file=Path(fields.filled("password_file")),
        )


@dataclass(frozen=True, slots=True)
class Volumes:
    """The folders of the volumes; services keep their data in `<folder>/live`."""

    documents: Path
    vectors: Path
    models: Path
    index: Path

    @classmethod
    def read(cls, fields: Fields) -> Volumes:
        names = ("documents", "vectors", "models", "index")
        return cls(**{name: Path(fields.filled(name)) for name in names})


OWN, EXTERNAL = "own", "external"


@dataclass(frozen=True, slots=True)
class Stack:
    """The stack that is backed up, or restored into. `config`: files and folders of its configuration.

    `models`: `own`, the store in its volume is one of its sources, or `external`, a server that is no part of the stack
    keeps them. `pullable`: patterns of models that a set names and does not hold, because they can be pulled again.
    `extra`: further sources.
    """

    name: str
    environment: str
    postgres: PostgresServer
    vectordb_url: str
    ollama_url: str
    api_url: str
    internal_token_file: Path | None
    volumes: Volumes
    config: tuple[Path, ...]
    models: str = OWN
    pullable: tuple[str, ...] = ()
    extra: tuple[ExtraSpec, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of all its sources."""
        return (*OWN_SOURCES, *(spec.name for spec in self.extra))

    @property
    def host(self) -> str:
        """The stable host name under which restic files the stack's sets."""
        return f"{self.name}-{self.environment}"

    @property
    def has_external_models(self) -> bool:
        return self.models == EXTERNAL

    @classmethod
    def read(cls, fields: Fields) -> Stack:
        token = fields.text_or_none("internal_token_file")
        return cls(
            name=fields.filled("name"),
            environment=fields.filled("environment"),
            postgres=PostgresServer.read(fields.section("postgres")),
            vectordb_url=fields.text("vectordb_url", ""),
            ollama_url=fields.text("ollama_url", ""),
            api_url=fields.text("api_url", ""),
            internal_token_file=Path(token) if token else None,
            volumes=Volumes.read(fields.section("volumes")),
            config=_paths(fields, "config"),
            models=fields.one_of("models", (OWN, EXTERNAL), OWN),
            pullable=tuple(fields.texts("pullable", [])),
            extra=read_extra(fields),
        )


@dataclass(frozen=True, slots=True)
class RepositoryPlace:
    """A restic repository. `id` is restic's own, empty while it is not known yet.

    `credentials_file`: NAME=VALUE lines for restic's environment, None when the place asks for none.
    """

    id: str
    url: str
    password_file: Path
    credentials_file: Path | None = None
    options: PlaceOptions = NO_OPTIONS

    @classmethod
    def read(cls, fields: Fields) -> RepositoryPlace:
        credentials, options = fields.text_or_none("credentials_file"), fields.section_or_none("options")
        return cls(
            id=fields.text_or_none("id") or "",
            url=fields.filled("url"),
            password_file=Path(fields.filled("password_file")),
            credentials_file=Path(credentials) if credentials else None,
            options=PlaceOptions.read(options) if options else NO_OPTIONS,
        )


@dataclass(frozen=True, slots=True)
class Tools:
    """`restic`: the program; `pg_bin`: the folder of pg_dump, pg_dumpall and pg_restore."""

    restic: Path
    pg_bin: Path

    @classmethod
    def read(cls, fields: Fields) -> Tools:
        return cls(restic=Path(fields.filled("restic")), pg_bin=Path(fields.filled("pg_bin")))


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `fence`: file with the number of the attempt that owns the operation; `work`: its folder."""

    kind: str
    operation: str
    attempt: int
    fence: Path
    work: Path
    stack: Stack | None
    repository: RepositoryPlace | None
    tools: Tools
    set_id: str | None
    options: dict[str, Any]
    # The sources a set is restricted to; None for all that the stack has.
    sources: tuple[str, ...] | None = None
    limits: Limits = NONE

    def require_stack(self) -> Stack:
        """The stack.

        Raises:
            JobInvalid: the job names none.
        """
        if self.stack is None:
            raise JobInvalid(f"job.stack: expected an object for a job of kind {self.kind}, got nothing")
        return self.stack

    def require_repository(self) -> RepositoryPlace:
        """The repository.

        Raises:
            JobInvalid: the job names none.
        """
        if self.repository is None:
            raise JobInvalid(f"job.repository: expected an object for a job of kind {self.kind}, got nothing")
        return self.repository

    def require_set(self) -> str:
        """The id of the set.

        Raises:
            JobInvalid: the job names none.
        """
        if not self.set_id:
            raise JobInvalid(f"job.set: expected the id of a set for a job of kind {self.kind}, got nothing")
        return self.set_id

    def option_fields(self) -> Fields:
        return Fields(self.options, "job.options")

    @property
    def cache(self) -> Path:
        """What outlives one operation: restic's cache and the list of documents already verified."""
        return self.work.parent / "cache"

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read a job from its line.

        Raises:
            JobInvalid: with the path of the first value that is wrong.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise JobInvalid(f"job: expected one line of JSON ({error})") from None
        return cls.read(Fields(value, "job"))

    @classmethod
    def read(cls, fields: Fields) -> Job:
        section = fields.section_or_none("stack")
        stack = Stack.read(section) if section else None
        repository = fields.section_or_none("repository")
        limits = fields.section_or_none("limits")
        return cls(
            kind=fields.one_of("kind", KINDS),
            operation=fields.filled("operation"),
            attempt=fields.integer("attempt"),
            fence=Path(fields.filled("fence")),
            work=Path(fields.filled("work")),
            stack=stack,
            repository=RepositoryPlace.read(repository) if repository else None,
            tools=Tools.read(fields.section("tools")),
            set_id=fields.text_or_none("set"),
            options=fields.mapping("options", {}),
            sources=read_chosen(fields, stack.sources) if stack else None,
            limits=Limits.read(limits) if limits else NONE,
        )


def _paths(fields: Fields, key: str) -> tuple[Path, ...]:
    """A folder, a list of files and folders, or null."""
    try:
        one = fields.text_or_none(key)
    except JobInvalid:
        return tuple(Path(item) for item in fields.texts(key))
    return (Path(one),) if one else ()
