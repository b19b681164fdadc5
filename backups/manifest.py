"""`set.json`: what a backup set is made of, so that a restore can prove it has everything.

It lies at `/set/set.json` inside the set's restic snapshot, next to the staged parts:

    /set/set.json
    /set/vectors/...                chroma.sqlite3 and the HNSW folders
    /set/postgres/database.dump     pg_dump -Fc
    /set/postgres/globals.sql       roles, without passwords
    /set/models/manifests/...       Ollama's manifests
    /set/config/...                 the stack's configuration
    <roots["documents"]>/<path>     documents, at their absolute path when the set was made
    <roots["models"]>/blobs/<name>  model blobs, likewise
    /set/extra/<name>/...           what was staged of a further source
    <roots[name]>/...               a further source that is a folder, likewise
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from backups.errors import ManifestInvalid
from backups.fields import Fields

# 1: all five sources of the stack. 2: some are absent on purpose; who knows 1 alone would take them for lost.
WHOLE_FORMAT = 1
FORMAT = 2
STAGED = "set"
SET_JSON = f"/{STAGED}/set.json"
DUMP = "postgres/database.dump"
GLOBALS = "postgres/globals.sql"
# How many of the missing files the portal keeps by name.
MISSING_NAMED = 100


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file. `source`: documents | vectors | models | postgres | config | the name of a further source.

    `path` is relative to `roots[source]` for documents and model blobs, to the staged folder for all others.
    """

    source: str
    path: str
    bytes: int
    sha256: str

    @classmethod
    def read(cls, fields: Fields) -> FileEntry:
        return cls(fields.filled("source"), fields.filled("path"), fields.integer("bytes"), fields.filled("sha256"))


@dataclass(frozen=True, slots=True)
class Collection:
    """One Chroma collection and the embedder its vectors come from.

    `vectors`: how many the store holds; `chunks`: how many of the set's ready documents must be among them.
    """

    name: str
    dimension: int
    model: str
    model_digest: str
    prefixes: str
    vectors: int = 0
    chunks: int = 0

    @classmethod
    def read(cls, fields: Fields) -> Collection:
        return cls(
            name=fields.filled("name"),
            dimension=fields.integer("dimension"),
            model=fields.text("model"),
            model_digest=fields.text("model_digest"),
            prefixes=fields.text("prefixes"),
            vectors=fields.integer("vectors"),
            chunks=fields.integer("chunks"),
        )


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob of the model store; `digest` is `sha256:<hex>`, its file `blobs/sha256-<hex>`."""

    digest: str
    bytes: int

    @property
    def file_name(self) -> str:
        return self.digest.replace(":", "-", 1)

    @classmethod
    def read(cls, fields: Fields) -> Blob:
        return cls(fields.filled("digest"), fields.integer("bytes"))


@dataclass(frozen=True, slots=True)
class Model:
    """A model: `manifest` is its path in the store (`manifests/...`), `digest` the checksum of that file."""

    name: str
    manifest: str
    digest: str
    blobs: tuple[Blob, ...]

    @classmethod
    def read(cls, fields: Fields) -> Model:
        return cls(
            name=fields.filled("name"),
            manifest=fields.filled("manifest"),
            digest=fields.filled("digest"),
            blobs=tuple(Blob.read(blob) for blob in fields.sections("blobs")),
        )


@dataclass(frozen=True, slots=True)
class ExternalModel:
    """A model of a server that is no part of the stack: named in the set, not stored in it."""

    name: str
    digest: str

    @classmethod
    def read(cls, fields: Fields) -> ExternalModel:
        return cls(fields.filled("name"), fields.text("digest"))


@dataclass(frozen=True, slots=True)
class Question:
    """A canary: a stored vector and its exact nearest chunks, nearest first (cosine, ready chunks only)."""

    collection: str
    vector: tuple[float, ...]
    nearest: tuple[str, ...]

    @classmethod
    def read(cls, fields: Fields) -> Question:
        vector = tuple(float(value) for value in fields.sequence("vector"))
        return cls(fields.filled("collection"), vector, tuple(fields.texts("nearest")))


@dataclass(frozen=True, slots=True)
class Golden:
    """A question in words, and the ids or names of documents of which one must be retrieved."""

    question: str
    documents: tuple[str, ...]

    @classmethod
    def read(cls, fields: Fields) -> Golden:
        return cls(fields.filled("question"), tuple(fields.texts("documents")))


@dataclass(frozen=True, slots=True)
class Extra:
    """A further source of the set. `taken_at`: its own moment; `in_freeze`: that is the moment of the set."""

    name: str
    kind: str
    taken_at: datetime
    in_freeze: bool
    origin: dict[str, Any]

    @classmethod
    def read(cls, fields: Fields) -> Extra:
        return cls(
            name=fields.filled("name"),
            kind=fields.filled("kind"),
            taken_at=_moment(fields),
            in_freeze=fields.flag("in_freeze"),
            origin=fields.mapping("origin", {}),
        )


@dataclass(frozen=True, slots=True)
class Anomaly:
    """What looks wrong although nothing is missing. `code` is for programs, `source` may be empty."""

    code: str
    source: str
    message: str

    @classmethod
    def read(cls, fields: Fields) -> Anomaly:
        return cls(fields.filled("code"), fields.text("source"), fields.filled("message"))


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """What one source weighs. `details`: figures of its own, e.g. rows per table."""

    files: int
    bytes: int
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> SourceFigures:
        return cls(fields.integer("files"), fields.integer("bytes"), fields.mapping("details", {}))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole of set.json.

    `versions`: ragkeep, postgres ("18.0"), postgres_major, chroma, restic, extensions, collation;
    `missing`: documents the database lists and the volume did not hold (then `state` is partial);
    `left_out`: models whose blobs vanished while the set was made;
    `external_models`: None when models are a source of the stack, else what the server that keeps them named;
    `chosen`: the sources it was restricted to, None when it holds all; `pullable`: models it names and does not hold.
    """

    set_id: str
    operation: str
    state: str
    stack: str
    environment: str
    host: str
    taken_at: datetime
    freeze_ms: float
    versions: dict[str, Any]
    counts: dict[str, int]
    collections: tuple[Collection, ...]
    models: tuple[Model, ...]
    sources: dict[str, SourceFigures]
    roots: dict[str, str]
    files: tuple[FileEntry, ...]
    canary: tuple[Question, ...]
    missing: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    external_models: tuple[ExternalModel, ...] | None = None
    chosen: tuple[str, ...] | None = None
    pullable: tuple[Model, ...] = ()
    extra: tuple[Extra, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    golden: tuple[Golden, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether a stack can be restored from it alone; its format says so to older programs."""
        return self.chosen is None and not self.pullable

    def files_of(self, source: str) -> Iterable[FileEntry]:
        return (entry for entry in self.files if entry.source == source)

    def snapshot_path(self, entry: FileEntry) -> str:
        """Where a file lies inside the restic snapshot, as `restic ls` shows it."""
        root = self.roots.get(entry.source) if entry.source in ("documents", "models") else None
        if root is None or entry.path.startswith("models/manifests/"):
            return f"/{STAGED}/{entry.path}"
        return f"{root.rstrip('/')}/{entry.path}"

    def to_json(self) -> str:
        value = {**asdict(self), "format": WHOLE_FORMAT if self.is_whole else FORMAT}
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=datetime.isoformat) + "\n"

    def detail(self) -> dict[str, Any]:
        """What set.json says without its lists of files, as the portal keeps it."""
        missing = {"missing": list(self.missing[:MISSING_NAMED]), "missing_count": len(self.missing)}
        external = {} if self.external_models is None else {"external_models": _named(self.external_models)}
        chosen = {} if self.chosen is None else {"sources": list(self.chosen)}
        return {
            "versions": self.versions,
            "models": _named(self.models),
            "pullable": _named(self.pullable),
            "collections": [
                {"name": c.name, "dimension": c.dimension, "model": c.model, "vectors": c.vectors, "chunks": c.chunks}
                for c in self.collections
            ],
            "questions": len(self.canary),
            "golden": len(self.golden),
            "left_out": list(self.left_out),
            **missing,
            **external,
            **chosen,
        }

    def figures(self) -> dict[str, dict[str, Any]]:
        """Files and bytes of every source, with what else is known of it, by its name."""
        found = {
            name: {"files": told.files, "bytes": told.bytes, **told.details} for name, told in self.sources.items()
        }
        for extra in self.extra:
            found[extra.name] |= {"kind": extra.kind, "taken_at": extra.taken_at.isoformat()}
        return found

    def write(self, path: Path) -> None:
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read set.json.

        Raises:
            ManifestInvalid: naming the path of the first value that is wrong, or a format that is too new.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ManifestInvalid(f"set.json: expected JSON ({error})") from None
        fields = Fields(value, "set", ManifestInvalid)
        if fields.integer("format") > FORMAT:
            raise ManifestInvalid(
                f"set.format: this set was made by a newer Ragkeep (format {fields.integer('format')}, known {FORMAT})",
                "Restore it with that version of Ragkeep or a later one.",
            )
        return cls.read(fields)

    @classmethod
    def read(cls, fields: Fields) -> Manifest:
        sources, counts = fields.section("sources"), fields.section("counts")
        return cls(
            set_id=fields.filled("set_id"),
            operation=fields.filled("operation"),
            state=fields.one_of("state", ("complete", "partial")),
            stack=fields.filled("stack"),
            environment=fields.filled("environment"),
            host=fields.filled("host"),
            taken_at=_moment(fields),
            freeze_ms=fields.number("freeze_ms"),
            versions=fields.mapping("versions"),
            counts={name: counts.integer(name) for name in fields.mapping("counts")},
            collections=tuple(Collection.read(part) for part in fields.sections("collections")),
            models=tuple(Model.read(part) for part in fields.sections("models")),
            sources={name: SourceFigures.read(sources.section(name)) for name in fields.mapping("sources")},
            roots={name: str(path) for name, path in fields.mapping("roots").items()},
            files=tuple(FileEntry.read(part) for part in fields.sections("files")),
            canary=tuple(Question.read(part) for part in fields.sections("canary")),
            missing=tuple(fields.texts("missing")),
            left_out=tuple(fields.texts("left_out")),
            external_models=_external(fields),
            chosen=tuple(fields.texts("chosen")) if fields.has("chosen") else None,
            pullable=tuple(Model.read(part) for part in _listed(fields, "pullable")),
            extra=tuple(Extra.read(part) for part in _listed(fields, "extra")),
            anomalies=tuple(Anomaly.read(part) for part in _listed(fields, "anomalies")),
            golden=tuple(Golden.read(part) for part in _listed(fields, "golden")),
        )


def _listed(fields: Fields, key: str) -> Iterable[Fields]:
    """The objects of a list that sets of an earlier program do not have."""
    return fields.sections(key) if fields.has(key) else ()


def _named(models: Iterable[Model | ExternalModel]) -> list[dict[str, str]]:
    return [{"name": model.name, "digest": model.digest} for model in models]


def _external(fields: Fields) -> tuple[ExternalModel, ...] | None:
    if not fields.has("external_models"):
        return None
    return tuple(ExternalModel.read(part) for part in fields.sections("external_models"))


def _moment(fields: Fields) -> datetime:
    text = fields.filled("taken_at")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ManifestInvalid(f"{fields.path}.taken_at: expected a date and time, got {text[:60]!r}") from None
