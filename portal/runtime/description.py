"""Local services as text that a release keeps, and back. Pure, but for what every process of this host inherits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from portal.runtime.probe import Probe
from portal.runtime.translate import LocalService


def dump(services: Mapping[str, LocalService], inherited: Mapping[str, str]) -> str:
    """These services as text, without what they merely inherit from this host."""
    own = {name: _without(service, inherited) for name, service in services.items()}
    return json.dumps({name: asdict(service) for name, service in own.items()}, indent=1, ensure_ascii=False) + "\n"


def load(text: str, inherited: Mapping[str, str]) -> dict[str, LocalService]:
    """The services of such a text, with what processes inherit here and now."""
    return {name: _service(tree, inherited) for name, tree in json.loads(text).items()}


def _without(service: LocalService, inherited: Mapping[str, str]) -> LocalService:
    env = {name: value for name, value in service.env.items() if inherited.get(name) != value}
    return replace(service, env=env)


def _service(tree: Mapping[str, Any], inherited: Mapping[str, str]) -> LocalService:
    probe = {**tree["probe"], "command": tuple(tree["probe"]["command"])}
    return LocalService(
        **{
            **tree,
            "argv": tuple(tree["argv"]),
            "init": tuple(tuple(step) for step in tree["init"]),
            "env": {**inherited, **tree["env"]},
            "folders": tuple(tree["folders"]),
            "probe": Probe(**probe),
        }
    )
