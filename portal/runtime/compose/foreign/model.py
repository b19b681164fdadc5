"""Somebody else's project as Compose resolves it, with nothing in reach but its own folder and its own variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import Node, SequenceNode

from portal.runtime.compose import argv
from portal.runtime.compose.client import Docker
from portal.runtime.compose.foreign import needs as needing
from portal.runtime.compose.foreign.needs import Need, within
from portal.runtime.compose.foreign.scan import HARMLESS_CONTEXT, demand_readable, pairs
from portal.runtime.compose.project import View
from portal.runtime.errors import ComposeFailedError, ComposeMissingError, StackFileError
from portal.runtime.foreign import Foreign
from portal.runtime.spec import StackSpec

Model = dict[str, Any]

COMMAND_SECONDS = 120.0
# Compose can fetch what a file includes from elsewhere.
NOTHING_REMOTE = {"COMPOSE_EXPERIMENTAL_GIT_REMOTE": "false", "COMPOSE_EXPERIMENTAL_OCI_REMOTE": "false"}
PLACE = re.compile(r"\b((?:services|networks|volumes|configs|secrets)(?:\.[\w-]+)+)")
TO_ITS_END = "service_completed_successfully"


def source_of(spec: StackSpec) -> Path:
    """The folder of our copy of the project."""
    assert spec.foreign is not None
    return Path(str(spec.file).removesuffix(spec.foreign.files[0]))


def model_command(project: str, folder: Path, foreign: Foreign) -> list[str]:
    """Print the project as one file, with variables, includes and defaults resolved."""
    files = [folder / name for name in foreign.files]
    words = argv.compose(project, [])
    for name in foreign.env_files or (argv.NO_VARIABLES,):
        words += ["--env-file", str(folder / name)]
    words += ["--project-directory", str(files[0].parent)]
    for file in files:
        words += ["--file", str(file)]
    for profile in foreign.profiles:
        words += ["--profile", profile]
    return [*words, "config", "--format", "json"]


def foreign_model(docker: Docker, view: View) -> Model:
    """The project, resolved with its own variables and the stack's settings; mounts lead to where it is at home.

    Raises:
        StackFileError: it reads something outside its folder, or Compose refuses it; with file and line.
        ComposeMissingError, EngineGoneError
    """
    model = resolved(docker, view)
    for config in model["services"].values():
        # They were chosen; what follows is to find all services in it.
        config.pop("profiles", None)
    return model


def resolved(docker: Docker, view: View) -> Model:
    """The same, as Compose itself would run it; raises as `foreign_model`."""
    foreign, folder = view.spec.foreign, source_of(view.spec)
    assert foreign is not None
    present = [name for name in foreign.env_files if (folder / name).exists()]
    demand_readable(folder, foreign.files, present)
    known = Foreign(foreign.files, tuple(present), foreign.profiles)
    command = model_command(view.spec.project, folder, known)
    try:
        # One that is empty was taken back: the project's own files say what it is.
        given = {name: value for name, value in view.state.settings.items() if value}
        told = docker.run(command, variables={**given, **NOTHING_REMOTE}, timeout=COMMAND_SECONDS)
    except ComposeFailedError as error:
        if not docker.has_compose:
            raise ComposeMissingError from None
        raise _located(error, folder, foreign) from None
    model: Model = json.loads(told.stdout)
    if not model.get("services"):
        raise StackFileError(foreign.files[0], "no service is active; name the profiles that are to be")
    demand_inside(model, folder)
    return at_home(model, folder, foreign.home)


def demand_inside(model: Model, folder: Path) -> None:
    """Everything that is read for a deploy lies in the folder; what variables led to is known by now.

    Raises:
        StackFileError: it does not.
    """
    for where, text in _read(model):
        if HARMLESS_CONTEXT.match(text):
            continue
        real = Path(text).resolve() if text.startswith("/") else None
        if real is None or not within(str(real), str(folder.resolve())):
            raise StackFileError(where, f"{text!r} leads out of the project's folder")
    for name, config in model["services"].items():
        for mount in config.get("volumes") or []:
            source = str(mount.get("source") or "")
            ours = mount.get("type") == "bind" and within(source, str(folder))
            if ours and not within(str(Path(source).resolve()), str(folder.resolve())):
                raise StackFileError(f"services.{name}.volumes", f"{source!r} is a link out of the project's folder")


def _read(model: Model) -> Iterator[tuple[str, str]]:
    for kind in ("configs", "secrets"):
        for name, definition in (model.get(kind) or {}).items():
            if definition.get("file"):
                yield f"{kind}.{name}.file", str(definition["file"])
    for name, config in model["services"].items():
        build, where = config.get("build") or {}, f"services.{name}.build"
        if build.get("context"):
            context = str(build["context"])
            yield where, context
            if build.get("dockerfile") and not HARMLESS_CONTEXT.match(context):
                yield f"{where}.dockerfile", str(Path(context) / str(build["dockerfile"]))
        for text in (build.get("additional_contexts") or {}).values():
            yield f"{where}.additional_contexts", str(text)


def at_home(model: Model, folder: Path, home: str) -> Model:
    """The same model with what containers mount from the project's folder at the place where that lies."""
    if not home:
        return model
    for config in model["services"].values():
        for mount in config.get("volumes") or []:
            if mount.get("type") == "bind":
                mount["source"] = _moved(str(mount["source"]), str(folder), home)
    for kind in ("configs", "secrets"):
        for definition in (model.get(kind) or {}).values():
            if definition.get("file"):
                definition["file"] = _moved(str(definition["file"]), str(folder), home)
    return model


def _moved(path: str, folder: str, home: str) -> str:
    if not within(path, folder):
        return path
    return str(Path(home) / Path(path).relative_to(folder))


def titles_of(model: Mapping[str, Any]) -> dict[str, str]:
    """The services of a model, with what people call them."""
    return {name: (config.get("x-ragkeep") or {}).get("title", name) for name, config in model["services"].items()}


def ending(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that another service waits for to have run to their end, or that say so themselves."""
    configs = model["services"].values()
    waited = {
        need
        for config in configs
        for need, how in (config.get("depends_on") or {}).items()
        if how.get("condition") == TO_ITS_END
    }
    return tuple(
        name for name, c in model["services"].items() if name in waited or (c.get("x-ragkeep") or {}).get("once")
    )


def needs_of(view: View, model: Model) -> list[Need]:
    """What of the model needs an administrator; what lies at another home than our copy is not the project's own."""
    return needing.needs(model, view.spec.project, str(source_of(view.spec)))


def _located(error: ComposeFailedError, folder: Path, foreign: Foreign) -> StackFileError:
    """What Compose says of the files, with the place as far as it names one."""
    said = [line for line in error.said.splitlines() if line.strip() and "level=warning" not in line]
    sentence = (said[-1] if said else error.message).replace(f"{folder}/", "")
    for name in foreign.files:
        for match in PLACE.finditer(sentence):
            if line := line_of(folder / name, match[1].split(".")):
                return StackFileError(f"{name}:{line}", sentence)
    return StackFileError(foreign.files[0], sentence)


def line_of(file: Path, keys: list[str]) -> int:
    """The line of the deepest of nested keys that a file has, counted from 1; 0 when not even the second is there."""
    try:
        node: Node | None = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return 0
    line = 0
    for depth, key in enumerate(keys):
        node, here = _entry(node, key)
        if node is None:
            break
        line = here if depth else 0
    return line


def _entry(node: Node | None, key: str) -> tuple[Node | None, int]:
    if isinstance(node, SequenceNode) and key.isdigit() and int(key) < len(node.value):
        found: Node = node.value[int(key)]
        return found, found.start_mark.line + 1
    for name, value in pairs(node) if node is not None else []:
        if name.value == key:
            return value, name.start_mark.line + 1
    return None, 0
