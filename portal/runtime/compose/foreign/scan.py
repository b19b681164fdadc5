"""What a Compose project makes Compose read, found before Compose reads any of it.

Compose follows `env_file`, `extends`, `include` and links wherever they lead. Here the files are parsed with the places
of everything in them, and the first thing that leads out of the project's folder is refused with its file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from portal.runtime.errors import StackFileError

# More than anybody writes by hand; enough to stop a file that includes itself under other names.
MOST_FILES = 100
MOST_BYTES = 2 << 20
DEPTH = 50
REMOTE = re.compile(r"^[\w+.-]+://|^(?:git|ssh)@|^github\.com/|^oci:|\.git(?:#|$)")
# A context of a build that is no folder and needs none of this host.
HARMLESS_CONTEXT = re.compile(r"^(?:docker-image://|service:)")
# Names that are not for the project but for the programs that read it.
RESERVED = re.compile(r"^\s*(?:export\s+)?((?:LD_|DOCKER_|BUILD|GIT_|SSH_)\w*|PATH|HOME)\s*[=:]", re.MULTILINE)
DOTENV = ".env"

Pairs = list[tuple[ScalarNode, Node]]


@dataclass(frozen=True, slots=True)
class File:
    """One file of a project; `bases` are the folders that its relative paths may start from."""

    path: Path
    bases: tuple[Path, ...]


@dataclass
class Scan:
    """The files of one project.

    Attributes:
        root: the project's folder, without links in its own path.
        missing: paths below it that the files name and that are not there, with the place that names each.
    """

    root: Path
    seen: set[Path] = field(default_factory=set)
    missing: dict[Path, str] = field(default_factory=dict)

    def file(self, path: Path, bases: tuple[Path, ...], where: str = "") -> None:
        """Look at one Compose file and all that it leads to.

        Raises:
            StackFileError: it cannot be read, or makes Compose read what it may not.
        """
        real = self.inside(path, where or self.shown(path))
        if real in self.seen:
            return
        if not real.exists():
            self.missing.setdefault(real, where or self.shown(path))
            return
        self.seen.add(real)
        if len(self.seen) > MOST_FILES:
            raise StackFileError(where or self.shown(path), f"a project has at most {MOST_FILES} Compose files")
        file = File(path, tuple(dict.fromkeys((*bases, path.parent))))
        for document in self._documents(path):
            self._document(document, file)

    def variables(self, path: Path, where: str = "") -> None:
        """Look at a file of variables that the project's files are rendered with."""
        real = self.inside(path, where or self.shown(path))
        if not real.exists():
            return
        if found := RESERVED.search(self._text(path)):
            line = self._text(path)[: found.start(1)].count("\n") + 1
            place = f"{self.shown(path)}:{line}"
            raise StackFileError(place, f"{found[1]} is for Docker's own programs; call the variable something else")

    def inside(self, path: Path, where: str) -> Path:
        """Where a path really leads.

        Raises:
            StackFileError: out of the project's folder, or to something that is neither a file nor a folder.
        """
        try:
            real = path.resolve()
        except (OSError, RuntimeError):
            raise StackFileError(where, "expected a path that leads somewhere") from None
        if real != self.root and self.root not in real.parents:
            raise StackFileError(where, "leads out of the project's folder")
        if real.exists() and not (real.is_file() or real.is_dir()):
            raise StackFileError(where, "expected a file or a folder")
        return real

    def shown(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if self.root in path.parents else path.name

    def _text(self, path: Path) -> str:
        try:
            if path.stat().st_size > MOST_BYTES:
                raise StackFileError(self.shown(path), f"is larger than {MOST_BYTES >> 20} MiB")
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise StackFileError(self.shown(path), "is not a text in UTF-8") from None
        except OSError as error:
            raise StackFileError(self.shown(path), f"cannot be read ({error.strerror})") from None

    def _documents(self, path: Path) -> list[Node]:
        text = self._text(path)
        try:
            return [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{self.shown(path)}:{mark.line + 1}" if mark else self.shown(path)
            problem = getattr(error, "problem", None) or "it cannot be parsed"
            raise StackFileError(where, f"is not YAML: {problem}") from None
        except RecursionError:
            raise StackFileError(self.shown(path), "is nested too deeply") from None

    def _document(self, node: Node, file: File) -> None:
        if not isinstance(node, MappingNode):
            raise StackFileError(self._place(node, file), "expected a mapping, as Compose files are")
        for key, value in pairs(node):
            if key.value == "include":
                for entry in _items(value):
                    self._include(entry, file)
            elif key.value == "services":
                for name, service in pairs(value):
                    self._service(service, file, f"services.{name.value}")
            elif key.value in ("configs", "secrets"):
                self._definitions(value, file, key.value)

    def _definitions(self, node: Node, file: File, kind: str) -> None:
        for name, definition in pairs(node):
            for path in _under(definition, "file"):
                self._later(path, file, f"{kind}.{name.value}.file")

    def _include(self, entry: Node, file: File) -> None:
        if isinstance(entry, ScalarNode):
            self._included(entry, file, [])
            return
        folders = [self._path(node, file, "include.project_directory") for node in _under(entry, "project_directory")]
        for node in _each(entry, "path"):
            self._included(node, file, [folder for group in folders for folder in group])
        for node in _each(entry, "env_file"):
            for path in self._path(node, file, "include.env_file"):
                self.variables(path, self._place(node, file))

    def _included(self, node: Node, file: File, folders: Sequence[Path]) -> None:
        for path in self._path(node, file, "include"):
            bases = tuple(folders) or (path.parent,)
            for base in bases:
                self.variables(base / DOTENV, self._place(node, file))
            self.file(path, bases, self._place(node, file))

    def _service(self, node: Node, file: File, name: str) -> None:
        readers = {
            "extends": self._extends,
            "env_file": self._files,
            "label_file": self._files,
            "credential_spec": self._credentials,
            "provider": self._provider,
            "build": self._build,
        }
        for key, value in pairs(node):
            if key.value in readers:
                readers[key.value](value, file, f"{name}.{key.value}")

    def _extends(self, node: Node, file: File, where: str) -> None:
        for path in _under(node, "file"):
            for found in self._path(path, file, f"{where}.file"):
                self.file(found, file.bases, self._place(path, file))

    def _credentials(self, node: Node, file: File, where: str) -> None:
        for path in _under(node, "file"):
            self._needed(path, file, f"{where}.file")

    def _provider(self, node: Node, file: File, where: str) -> None:
        raise StackFileError(self._place(node, file), f"{where} would run a program of this host")

    def _files(self, node: Node, file: File, where: str) -> None:
        for entry in _items(node):
            optional = any(isinstance(flag, ScalarNode) and flag.value == "false" for flag in _under(entry, "required"))
            for path in [entry] if isinstance(entry, ScalarNode) else _under(entry, "path"):
                self._needed(path, file, where, optional=optional)

    def _needed(self, node: Node, file: File, where: str, *, optional: bool = False) -> None:
        """Something that Compose reads itself, and that therefore must be there."""
        found = self._path(node, file, where)
        if not optional and not any(path.exists() for path in found):
            self.missing.setdefault(found[0], self._place(node, file))

    def _later(self, node: Node, file: File, where: str) -> None:
        """Something that is read later, when the values of variables are known; see `model.demand_inside`."""
        if isinstance(node, ScalarNode) and "$" not in node.value:
            found = self._path(node, file, where)
            if not any(path.exists() for path in found):
                self.missing.setdefault(found[0], self._place(node, file))

    def _build(self, node: Node, file: File, where: str) -> None:
        if isinstance(node, ScalarNode):
            self._context(node, file, where)
            return
        for key, value in pairs(node):
            self._part_of_build(key, value, file, f"{where}.{key.value}")
        for context in _under(node, "context"):
            for recipe in _under(node, "dockerfile"):
                self._recipe(context, recipe, file, where)

    def _part_of_build(self, key: ScalarNode, value: Node, file: File, where: str) -> None:
        if key.value == "context":
            self._context(value, file, where)
        elif key.value == "additional_contexts":
            for entry in _values(value):
                self._context(entry, file, where)
        elif key.value == "ssh":
            raise StackFileError(self._place(key, file), f"{where} would hand out keys of this host")
        elif key.value in ("cache_from", "cache_to") and any("local" in one.value for one in _values(value)):
            raise StackFileError(self._place(key, file), f"{where} would use a folder of this host")

    def _context(self, node: Node, file: File, where: str) -> None:
        text = node.value.rpartition("=")[2] if isinstance(node, ScalarNode) else ""
        if "$" in text or HARMLESS_CONTEXT.match(text):
            return
        found = self._resolve(text, node, file, where)
        if not any(path.exists() for path in found):
            self.missing.setdefault(found[0], self._place(node, file))

    def _recipe(self, context: Node, recipe: Node, file: File, where: str) -> None:
        if (
            isinstance(context, ScalarNode)
            and isinstance(recipe, ScalarNode)
            and "$" not in context.value + recipe.value
        ):
            self._resolve(str(Path(context.value) / recipe.value), recipe, file, f"{where}.dockerfile")

    def _path(self, node: Node, file: File, where: str) -> list[Path]:
        """Where a path may lead, for each folder that it may start from; every one of them is inside."""
        if not isinstance(node, ScalarNode):
            raise StackFileError(self._place(node, file), f"{where}: expected a path")
        if "$" in node.value:
            raise StackFileError(
                self._place(node, file), f"{where}: write the path out; what a variable leads to cannot be known here"
            )
        return self._resolve(node.value, node, file, where)

    def _resolve(self, text: str, node: Node, file: File, where: str) -> list[Path]:
        place = self._place(node, file)
        if REMOTE.search(text):
            raise StackFileError(place, f"{where}: {text!r} is elsewhere; put it into the project's folder")
        if text.startswith(("~", "/")):
            raise StackFileError(place, f"{where}: {text!r} leads out of the project's folder")
        for base in file.bases:
            self.inside(base / text, f"{place}: {where}: {text!r}")
        return list(dict.fromkeys(base / text for base in file.bases))

    def _place(self, node: Node, file: File) -> str:
        return f"{self.shown(file.path)}:{node.start_mark.line + 1}"


def scan(root: Path, files: Sequence[str], env_files: Sequence[str] = ()) -> Scan:
    """Look at a project.

    Args:
        root: its folder.
        files: its Compose files, relative to it.
        env_files: its files of variables, likewise.

    Raises:
        StackFileError: the first thing that is wrong, with file and line.
    """
    found = Scan(root.resolve())
    for name in env_files:
        found.variables(found.root / name)
    for name in files:
        path = found.root / name
        # What Compose takes relative paths from: the folder of the first file.
        found.file(path, ((found.root / files[0]).parent,))
    return found


def demand_readable(root: Path, files: Sequence[str], env_files: Sequence[str] = ()) -> None:
    """
    Raises:
        StackFileError: something leads out of the folder, is missing or is no Compose file.
    """
    found = scan(root, files, env_files)
    for path, where in found.missing.items():
        raise StackFileError(where, f"{found.shown(path)} is not there")


def pairs(node: Node, depth: int = 0) -> Pairs:
    """The entries of a mapping with those it is merged from; none of anything else."""
    found: Pairs = []
    if not isinstance(node, MappingNode) or depth > DEPTH:
        return found
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.value == "<<":
            for merged in _items(value):
                found += pairs(merged, depth + 1)
        else:
            found.append((key, value))
    return found


def _items(node: Node) -> list[Node]:
    return list(node.value) if isinstance(node, SequenceNode) else [node]


def _under(node: Node, name: str) -> list[Node]:
    return [value for key, value in pairs(node) if key.value == name]


def _each(node: Node, name: str) -> Iterator[Node]:
    for value in _under(node, name):
        yield from _items(value)


def _values(node: Node) -> list[ScalarNode]:
    """The texts of a list, or of a mapping's values."""
    found = [value for _, value in pairs(node)] if isinstance(node, MappingNode) else _items(node)
    return [one for one in found if isinstance(one, ScalarNode)]
