"""The tree of a set: every file in it under the name that people know it by, as one SQLite file written once.

    /documents/<knowledge base>/<path>   the documents under their original names
    /vectors, /postgres, /models, /config, /extra/<source>
    /set.json

The portal's own database and secrets are left out: only a recovery reads them.

A node knows where its bytes lie in the snapshot; names are only shown and looked up, never used as paths.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backups.manifest import SET_JSON, STAGED, Manifest

# Rows of the view backup_documents, one JSON object a line, as of the freeze.
NAMES = "documents.jsonl"
NAMES_JSON = f"/{STAGED}/{NAMES}"

PORTAL = "portal"
FORMAT = 1
DEPTH = 100
FILES = 2_000_000

_SCHEMA = """
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY, last INTEGER NOT NULL, parent INTEGER NOT NULL, path TEXT NOT NULL, name TEXT NOT NULL,
    folded TEXT NOT NULL, folder INTEGER NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL, stored TEXT NOT NULL
);
"""
_INDEXES = """
CREATE UNIQUE INDEX nodes_path ON nodes (path);
CREATE INDEX nodes_parent ON nodes (parent, id);
CREATE INDEX nodes_stored ON nodes (stored) WHERE NOT folder;
"""
_COLUMNS = "id, last, path, name, folder, files, bytes, sha256, stored"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a set. `stored`: its path in the snapshot; `sha256` is empty where nobody recorded it."""

    path: tuple[str, ...]
    stored: str
    bytes: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A file or folder of the tree; `files` and `bytes` of a folder count everything below it."""

    id: int
    last: int
    path: str
    name: str
    is_folder: bool
    files: int
    bytes: int
    sha256: str
    stored: str

    @property
    def parents(self) -> list[tuple[str, str]]:
        """Name and path of each folder above it, from the top; the root's name is empty."""
        if self.path == "/":
            return []
        words = self.path.split("/")[1:-1]
        return [("", "/"), *((word, "/" + "/".join(words[: n + 1])) for n, word in enumerate(words))]


def entries(manifest: Manifest, names: Iterable[Mapping[str, Any]], live: Iterable[Entry] = ()) -> Iterator[Entry]:
    """Every file of a set.

    Args:
        names: rows of backup_documents; none: documents keep the names of their files.
        live: files of folders that restic read in place, which set.json does not list.
    """
    yield Entry(("set.json",), SET_JSON, 0)
    yield from _documents(manifest, names)
    private = tuple(f"extra/{extra.name}/" for extra in manifest.extra if extra.kind == PORTAL)
    for entry in manifest.files:
        if entry.source != "documents" and not entry.path.startswith(private):
            own = entry.source == "models" and entry.path.startswith("blobs/")
            path = f"models/{entry.path}" if own else entry.path
            yield Entry(segments(path), manifest.snapshot_path(entry), entry.bytes, entry.sha256)
    yield from live


def _documents(manifest: Manifest, names: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    contents = {entry.sha256: entry for entry in manifest.files_of("documents")}
    unnamed = set(contents)
    for row in names:
        for sha256, name in _versions(row):
            if entry := contents.get(sha256):
                unnamed.discard(sha256)
                path = ("documents", *segments(str(row.get("base") or "")), *(segments(name) or (sha256,)))
                yield Entry(path, manifest.snapshot_path(entry), entry.bytes, sha256)
    for sha256 in sorted(unnamed):
        entry = contents[sha256]
        yield Entry(("documents", *segments(entry.path)), manifest.snapshot_path(entry), entry.bytes, sha256)


def _versions(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Content and name of a document: what answers questions, and what was uploaded since and is being read."""
    name = str(row.get("path") or row["name"])
    live, newest = str(row.get("live_sha256") or ""), str(row["sha256"])
    yield live or newest, name
    if live and live != newest:
        stem, dot, suffix = name.rpartition(".")
        yield newest, f"{stem} (being read).{suffix}" if dot and stem and "/" not in suffix else f"{name} (being read)"


def live_entries(manifest: Manifest, nodes: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    """Files of further sources that are folders, from what `restic ls` lists."""
    roots = {name: root.rstrip("/") for name, root in manifest.roots.items() if name not in ("documents", "models")}
    for node in nodes if roots else ():
        stored = str(node["path"])
        for name, root in roots.items():
            if node["type"] == "file" and stored.startswith(f"{root}/"):
                path = ("extra", name, *segments(stored.removeprefix(root)))
                yield Entry(path, stored, int(node.get("size", 0)))


def segments(path: str) -> tuple[str, ...]:
    """The words of a path; none of them can lead anywhere else, and there are at most `DEPTH`."""
    words = [word.replace("\0", "") for word in path.split("/")]
    found = ["__" if word == ".." else word for word in words if word not in ("", ".")]
    return (*found[: DEPTH - 1], *(["_".join(found[DEPTH - 1 :])] if found[DEPTH - 1 :] else []))


def names_read(text: str) -> list[dict[str, Any]]:
    """The rows of a listing."""
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def names_written(rows: Iterable[Mapping[str, Any]]) -> str:
    """A listing; every line is ASCII, whatever is in the names."""
    return "".join(json.dumps(dict(row), separators=(",", ":")) + "\n" for row in rows)


@dataclass(slots=True)
class _Folder:
    """A folder while the tree is built; a value of `below` is a folder or a file."""

    below: dict[str, _Folder | Entry] = field(default_factory=dict)

    def folder(self, name: str) -> _Folder:
        found = self.below.get(name)
        if isinstance(found, Entry):
            return self.folder(f"{name} (2)")
        if found is None:
            found = self.below[name] = _Folder()
        return found

    def add(self, name: str, entry: Entry) -> None:
        number, unique = 1, name
        while unique in self.below:
            number += 1
            stem, dot, suffix = name.rpartition(".")
            unique = f"{stem} ({number}).{suffix}" if dot and stem else f"{name} ({number})"
        self.below[unique] = entry


def write(file: Path, found: Iterable[Entry]) -> int:
    """Write a tree, whole or not at all; returns the number of files in it. Files beyond `FILES` are left out."""
    root = _Folder()
    for entry in itertools.islice(found, FILES):
        folder = root
        for word in entry.path[:-1]:
            folder = folder.folder(word)
        folder.add(entry.path[-1], entry)
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    rows = _Rows()
    files = rows.folder(root, parent=0, path="", name="")[0]
    with closing(sqlite3.connect(fresh)) as connection:
        connection.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA user_version={FORMAT};")
        connection.executescript(_SCHEMA)
        marks = ", ".join("?" * 11)
        connection.executemany(f"INSERT INTO nodes VALUES ({marks})", rows.rows)  # noqa: S608 - question marks
        connection.commit()
        connection.executescript(_INDEXES)
    fresh.replace(file)
    return files


class _Rows:
    """Numbers the nodes depth first, so that everything below a folder has the ids up to its `last`."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, str, str, str, int, int, int, str, str]] = []
        self._next = 0

    def folder(self, folder: _Folder, *, parent: int, path: str, name: str) -> tuple[int, int]:
        """Add a folder and what is below it; returns its files and bytes."""
        number, files, size = self._number(), 0, 0
        for below in sorted(folder.below, key=lambda word: (isinstance(folder.below[word], Entry), fold(word), word)):
            found = folder.below[below]
            if isinstance(found, _Folder):
                inner = self.folder(found, parent=number, path=f"{path}/{below}", name=below)
            else:
                inner = self._file(found, number, f"{path}/{below}", below)
            files, size = files + inner[0], size + inner[1]
        self.rows.append((number, self._next, parent, path or "/", name, fold(name), 1, files, size, "", ""))
        return files, size

    def _file(self, entry: Entry, parent: int, path: str, name: str) -> tuple[int, int]:
        number = self._number()
        self.rows.append(
            (number, number, parent, path, name, fold(name), 0, 1, entry.bytes, entry.sha256, entry.stored)
        )
        return 1, entry.bytes

    def _number(self) -> int:
        self._next += 1
        return self._next


def fold(text: str) -> str:
    """Text as it is searched for: whatever the case and however its accents are encoded."""
    return unicodedata.normalize("NFKC", text.casefold())


def _node(row: Sequence[Any]) -> Node:
    number, last, path, name, folder, files, size, sha256, stored = row
    return Node(number, last, path, name, bool(folder), files, size, sha256, stored)


class Tree:
    """A tree that was written, opened to be read. Use as a context manager."""

    def __init__(self, file: Path) -> None:
        """Raises: FileNotFoundError: there is none, or one of another version of the program."""
        if not file.is_file():
            raise FileNotFoundError(file)
        self._connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        if self._version() != FORMAT:
            self._connection.close()
            raise FileNotFoundError(file)

    def _version(self) -> int:
        try:
            return int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.DatabaseError:
            return 0

    def node(self, path: str) -> Node | None:
        """The file or folder with exactly this path; `/` is the root."""
        return next(iter(self._nodes("path = ?", (path,))), None)

    def children(self, folder: Node, *, offset: int = 0, limit: int = 200) -> list[Node]:
        """What lies directly in a folder: folders first, then files, each by name."""
        return self._nodes("parent = ? ORDER BY id LIMIT ? OFFSET ?", (folder.id, limit, offset))

    def count(self, folder: Node) -> int:
        """How many files and folders lie directly in a folder."""
        return int(self._connection.execute("SELECT count(*) FROM nodes WHERE parent = ?", (folder.id,)).fetchone()[0])

    def search(self, text: str, under: Node, *, limit: int = 200) -> list[Node]:
        """Files and folders below `under` whose name contains the text, whatever its case."""
        literal = "".join(f"\\{c}" if c in "\\%_" else c for c in fold(text))
        where = "id > ? AND id <= ? AND folded LIKE ? ESCAPE '\\' ORDER BY id LIMIT ?"
        return self._nodes(where, (under.id, under.last, f"%{literal}%", limit))

    def files(self, node: Node) -> list[Node]:
        """The node itself, or every file below it."""
        return self._nodes("id >= ? AND id <= ? AND NOT folder ORDER BY id", (node.id, node.last))

    def bytes_below(self, folder: str) -> int:
        """Bytes of all files whose place in the snapshot lies below `folder`."""
        # The character after the slash closes the range: no path of the folder can reach it.
        query = "SELECT coalesce(sum(bytes), 0) FROM nodes WHERE NOT folder AND stored >= ? AND stored < ?"
        return int(self._connection.execute(query, (f"{folder}/", f"{folder}0")).fetchone()[0])

    def _nodes(self, where: str, values: Sequence[object]) -> list[Node]:
        query = f"SELECT {_COLUMNS} FROM nodes WHERE {where}"  # noqa: S608 - conditions of this class
        return [_node(row) for row in self._connection.execute(query, tuple(values))]

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
