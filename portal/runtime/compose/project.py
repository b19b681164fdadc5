"""A stack as a Compose project: where its files are, and the one file rendered from all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from portal.runtime.compose import argv, contents, publishing
from portal.runtime.compose.client import Docker
from portal.runtime.compose.comparison import Wanted
from portal.runtime.compose.record import write_private
from portal.runtime.compose.render import Model, Scope, dump, image, render, scope
from portal.runtime.errors import ComposeFailedError, ComposeMissingError, StackFileError
from portal.runtime.spec import ServiceSpec, StackSpec
from portal.runtime.state import StackState, write_state
from portal.runtime.translate import Location

COMMAND_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class View:
    """A stack as it is to run here; `services` are those that are active with its settings."""

    spec: StackSpec
    state: StackState
    location: Location
    services: Mapping[str, ServiceSpec]

    @property
    def folder(self) -> Path:
        """What this runtime keeps about the stack; for its owner alone."""
        return self.location.root / "compose"

    @property
    def file(self) -> Path:
        """The rendered project as Compose was given it last."""
        return self.folder / "compose.json"

    @property
    def key(self) -> Path:
        return self.folder / "digest.key"

    @property
    def record(self) -> Path:
        return self.folder / "deployed.json"

    @property
    def source(self) -> Path:
        """The stack file; Compose is started elsewhere."""
        return self.spec.file.resolve()

    @property
    def files(self) -> list[Path]:
        """The stack file and its overlays."""
        return [self.source, *(overlay.resolve() for overlay in self.spec.overlays)]

    def handed_out(self, secret: str) -> Path:
        """The copy of a secret that containers mount."""
        return self.folder / "secrets" / secret


@dataclass(frozen=True, slots=True)
class Rendering:
    """The project as text for Compose, the services in it, and each of them as it is to run."""

    text: str
    scope: Scope
    wanted: Mapping[str, Wanted]
    secrets: frozenset[str]
    key: bytes


def rendering(docker: Docker, view: View) -> Rendering:
    """Render the stack's files, with its settings as the only variables. Changes nothing.

    Raises:
        StackFileError: Compose refuses them.
        ComposeMissingError: there is no Compose.
        EngineGoneError: no engine answers.
    """
    model = _model(docker, view)
    files = [read_tree(file) for file in view.files]
    described = described_services(files[0])
    kept_out = set(described) - set(view.services) - set(view.spec.once)
    chosen = scope(model, view.services, kept_out, described)
    used = _used_secrets(view, model, chosen)
    key = contents.key(view.key)
    places = {name: view.location.secret(name) for name in used}
    configs = {name: model["services"][name] for name in chosen.services}
    parts = {n: contents.digests(contents.mounted(config, model, places), key) for n, config in configs.items()}
    digests = {n: contents.watched_by_itself(configs[n]) or contents.combined(found) for n, found in parts.items()}
    copies = {name: view.handed_out(name) for name in used}
    project = render(
        model,
        chosen,
        view.location,
        secrets=copies,
        contents=digests,
        chosen_ports=publishing.chosen(files, view.state.settings),
        niceness=view.spec.niceness,
    )
    text = dump(project)
    hashes = _hashes(docker, view, text)
    images = {name: image(view.spec.project, name, config) for name, config in configs.items()}
    ids = {reference: docker.engine.image_id(reference) for reference in set(images.values())}
    wanted = {
        name: Wanted(
            name=name,
            config=project["services"][name],
            told_hash=hashes[name],
            contents=parts[name],
            digest=digests[name],
            image=images[name],
            image_id=ids[images[name]],
            once=name in chosen.once,
        )
        for name in chosen.services
    }
    return Rendering(text, chosen, wanted, used, key)


def read_tree(file: Path) -> Mapping[str, Any]:
    """A Compose file as it was written; empty when it is gone or no mapping."""
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return tree if isinstance(tree, dict) else {}


def described_services(tree: Mapping[str, Any]) -> dict[str, str]:
    """The services that the stack file itself describes, with what people call them."""
    found = tree.get("services") or {}
    return {name: ((config or {}).get("x-ragkeep") or {}).get("title", name) for name, config in found.items()}


def _model(docker: Docker, view: View) -> Model:
    command = argv.model(view.spec.project, view.files, view.source.parent)
    variables = {publishing.LISTEN: view.state.listen, **view.state.settings}
    try:
        told = docker.run(command, variables=variables, timeout=COMMAND_SECONDS)
    except ComposeFailedError as error:
        if not docker.has_compose:
            raise ComposeMissingError from None
        said = error.said.splitlines()
        raise StackFileError(view.source.name, said[-1] if said else error.message) from None
    model: Model = json.loads(told.stdout)
    return model


def _hashes(docker: Docker, view: View, text: str) -> dict[str, str]:
    told = docker.run(argv.hashes(view.spec.project, view.source.parent), stdin=text, timeout=COMMAND_SECONDS)
    return dict(line.split() for line in told.stdout.splitlines() if line.strip())


def _used_secrets(view: View, model: Model, chosen: Scope) -> frozenset[str]:
    configs = (model["services"][name] for name in chosen.services)
    named = {entry["source"] for config in configs for entry in config.get("secrets") or []}
    return frozenset(named & set(view.spec.secrets))


def install(view: View, rendered: Rendering) -> None:
    """Put everything in place that containers need of this host.

    A container reads a secret as its own uid, which owns nothing here: the copies may be read by everybody who can
    reach them, and their folder lets nobody else through. Docker mounts each file by itself.
    """
    write_state(view.location.root, view.state)
    write_private(view.key, rendered.key)
    for name in rendered.secrets:
        text = view.location.secret(name).read_bytes()
        copy = view.handed_out(name)
        if not copy.is_file() or copy.read_bytes() != text:
            write_private(copy, text, mode=0o444)
    write_private(view.file, rendered.text)
