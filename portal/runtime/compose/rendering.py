"""The one file that is rendered from all files of a stack, and each service in it as it is to run."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from portal.runtime.compose import argv, contents, publishing
from portal.runtime.compose.client import Docker
from portal.runtime.compose.comparison import Wanted
from portal.runtime.compose.containers import CONTENTS
from portal.runtime.compose.foreign.description import additions
from portal.runtime.compose.foreign.model import foreign_model, titles_of
from portal.runtime.compose.project import View, described_services, read_tree
from portal.runtime.compose.record import write_private
from portal.runtime.compose.render import Model, Scope, addition, dump, image, render, scaled, scope
from portal.runtime.errors import ComposeFailedError, ComposeMissingError, StackFileError
from portal.runtime.protocol import Rendered
from portal.runtime.state import read_state, write_state

COMMAND_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Rendering:
    """A project in three views of the same.

    Attributes:
        text: for Compose to compute hashes of, and for a release to keep.
        given: what Compose is given to run; other than `text` where a release names images for good.
        scope: the services in it.
        wanted: each of them as it is to run.
        secrets: the stack's secrets that are used.
        key: what the digests of mounted files are made with.
    """

    text: str
    given: str
    scope: Scope
    wanted: Mapping[str, Wanted]
    secrets: frozenset[str]
    key: bytes

    @property
    def networks(self) -> Mapping[str, Mapping[str, Any]]:
        """The definitions of the project's networks."""
        found: Mapping[str, Mapping[str, Any]] = json.loads(self.text).get("networks") or {}
        return found


def rendering(docker: Docker, view: View, release: Rendered | None = None) -> Rendering:
    """Render the stack's files with its settings as the only variables, or read a release. Changes nothing.

    Raises:
        StackFileError: Compose refuses them.
        ComposeMissingError: there is no Compose.
        EngineGoneError: no engine answers.
    """
    return _from_files(docker, view) if release is None else _from_release(docker, view, release)


def rendered(docker: Docker, view: View) -> Rendered:
    """What the stack's files say now, as a release keeps it; from now on the stack has its ports and its key, but not
    its settings: those are of what runs."""
    before = read_state(view.location.root)
    write_state(view.location.root, replace(view.state, settings=before.settings if before else {}))
    if not view.key.is_file():
        write_private(view.key, contents.key(view.key))
    found = rendering(docker, view)
    pinned = {name: docker.engine.pinned(want.image) for name, want in found.wanted.items()}
    return Rendered(
        text=found.text,
        images={name: reference for name, reference in pinned.items() if reference},
        contents={name: dict(want.contents) for name, want in found.wanted.items()},
    )


def _from_files(docker: Docker, view: View) -> Rendering:
    model = scaled(_model(docker, view), view.state.instances)
    files = [read_tree(file) for file in view.files]
    described = described_services(files[0])
    kept_out = set(described) - set(view.services) - set(view.spec.once)
    if foreign := view.spec.foreign is not None:
        # Its services are those that it has now, whatever was known of it.
        chosen = scope(model, additions(titles_of(model)), (), titles_of(model))
    else:
        chosen = scope(model, view.services, kept_out, described)
    used = _used_secrets(view, model, chosen)
    key = contents.key(view.key)
    parts = _mounted(view, model, chosen, used, key)
    project = render(
        model,
        chosen,
        view.location,
        secrets={name: view.handed_out(name) for name in used},
        contents=_digests(model, parts),
        chosen_ports=publishing.chosen(files, view.state.settings),
        niceness=view.spec.niceness,
        as_written=foreign,
    )
    names = {name: image(view.spec.project, name, config) for name, config in project["services"].items()}
    text = dump(project)
    return Rendering(text, text, chosen, _wanted(docker, view, text, chosen, parts, names), used, key)


def _from_release(docker: Docker, view: View, release: Rendered) -> Rendering:
    """The project as it was deployed once: of its images those, of what it mounts what is there now."""
    project = scaled(json.loads(release.text), view.state.instances)
    described = described_services(read_tree(view.source))
    services = {
        name: view.services.get(name) or addition(name, described.get(name, name)) for name in project["services"]
    }
    chosen = scope(project, services, (), described)
    used = _used_secrets(view, project, chosen)
    key = contents.key(view.key)
    text = dump(project)
    images = {
        name: release.images.get(name) or image(view.spec.project, name, config)
        for name, config in project["services"].items()
    }
    bare = _without_digests(project, release)
    parts = _mounted(view, bare, chosen, used, key)
    # Compared with what is there now as well: what mounts a secret of today is no reason to replace it again.
    wanted = _wanted(docker, view, text, chosen, parts, images)
    now = _digests(bare, parts)
    return Rendering(text, dump(_pinned(docker, view, project, wanted, now)), chosen, wanted, used, key)


def _without_digests(project: Model, release: Rendered) -> Model:
    """The project as it was written, so that labels of ours are not taken for those of its author."""
    found = deepcopy(project)
    for name, config in found["services"].items():
        if release.contents.get(name):
            config["labels"].pop(CONTENTS, None)
    return found


def _pinned(
    docker: Docker, view: View, project: Model, wanted: Mapping[str, Wanted], digests: Mapping[str, str]
) -> Model:
    """The same project, with an image named for good where its name means another one by now."""
    found = deepcopy(project)
    for name, config in found["services"].items():
        called = image(view.spec.project, name, config)
        # One that is not here yet may be fetched by what names it for good, and then has no other name.
        if not wanted[name].image_id or docker.engine.image_id(called) != wanted[name].image_id:
            config["image"] = wanted[name].image
        if digests.get(name):
            config["labels"] = {**(config.get("labels") or {}), CONTENTS: digests[name]}
    return found


def _wanted(
    docker: Docker,
    view: View,
    text: str,
    chosen: Scope,
    parts: Mapping[str, Mapping[str, str]],
    images: Mapping[str, str],
) -> dict[str, Wanted]:
    configs = json.loads(text)["services"]
    hashes = _hashes(docker, view, text)
    ids = {reference: docker.engine.image_id(reference) for reference in set(images.values())}
    return {
        name: Wanted(
            name=name,
            config=configs[name],
            told_hash=hashes[name],
            contents=parts.get(name, {}),
            digest=_digest(configs[name], parts.get(name, {})),
            image=images[name],
            image_id=ids[images[name]],
            once=name in chosen.once,
        )
        for name in chosen.services
    }


def _mounted(
    view: View, model: Model, chosen: Scope, secrets: Collection[str], key: bytes
) -> dict[str, dict[str, str]]:
    """Service -> what it mounts -> digest of the contents as they are now."""
    places = {name: view.location.secret(name) for name in secrets}
    configs = {name: model["services"][name] for name in chosen.services}
    return {n: contents.digests(contents.mounted(config, model, places), key) for n, config in configs.items()}


def _digests(model: Model, parts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {name: _digest(model["services"][name], found) for name, found in parts.items()}


def _digest(config: Model, parts: Mapping[str, str]) -> str:
    label = contents.watched_by_itself(config) if not parts else ""
    return label or contents.combined(parts)


def _model(docker: Docker, view: View) -> Model:
    if view.spec.foreign is not None:
        return foreign_model(docker, view)
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


def install(view: View, found: Rendering) -> None:
    """Put everything in place that containers need of this host.

    A container reads a secret as its own uid, which owns nothing here: the copies may be read by everybody who can
    reach them, and their folder lets nobody else through. Docker mounts each file by itself.
    """
    write_state(view.location.root, view.state)
    write_private(view.key, found.key)
    for name in found.secrets:
        text = view.location.secret(name).read_bytes()
        copy = view.handed_out(name)
        if not copy.is_file() or copy.read_bytes() != text:
            write_private(copy, text, mode=0o444)
    write_private(view.file, found.given)
