"""From Compose's resolved model to the one file this runtime hands to Compose. Pure, but for the digests given in."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from portal.runtime.compose.containers import CONTENTS
from portal.runtime.compose.publishing import Chosen, publish
from portal.runtime.spec import Ready, ServiceSpec
from portal.runtime.translate import Location

Model = dict[str, Any]

TO_ITS_END = "service_completed_successfully"
# How long a service may take that the stack file says nothing about, unless the caller is less patient.
PATIENCE_SECONDS = 3600
DEFAULT_SHARES = 1024
# What YAML would take for a line's end or refuse; JSON leaves it as it is.
AWKWARD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which services of a model run.

    Attributes:
        services: in the order of the stack file, additions after them; `depends_on` is what the model says.
        once: those that are meant to run to their end.
    """

    services: Mapping[str, ServiceSpec]
    once: frozenset[str]


def scope(
    model: Model, active: Mapping[str, ServiceSpec], kept_out: Collection[str], titles: Mapping[str, str]
) -> Scope:
    """The services of `model` that run: those of the stack, and what they depend on that only containers need.

    A service that is to have no containers (`replicas: 0`) is none of them.

    Args:
        active: services of the stack that run here.
        kept_out: services of the stack that do not, even if another depends on them.
        titles: what people call those that are not among `active`.
    """
    configs = {name: config for name, config in model["services"].items() if replicas(config) > 0}
    names = [name for name in active if name in configs]
    for name in names:
        names.extend(need for need in _needs(configs[name]) if need in configs and need not in {*kept_out, *names})
    services = {name: _described(name, active, configs, names, titles) for name in names}
    ending = {
        need
        for name in names
        for need, how in _needs(configs[name]).items()
        if need in names and how.get("condition") == TO_ITS_END
    }
    return Scope(MappingProxyType(services), frozenset(ending))


def _needs(config: Model) -> Mapping[str, Model]:
    return config.get("depends_on") or {}


def _described(
    name: str,
    active: Mapping[str, ServiceSpec],
    configs: Model,
    names: Collection[str],
    titles: Mapping[str, str],
) -> ServiceSpec:
    needs = tuple(need for need in _needs(configs[name]) if need in names)
    return replace(active.get(name) or addition(name, titles.get(name, name)), depends_on=needs)


def addition(name: str, title: str) -> ServiceSpec:
    """A service that is no part of the stack as other runtimes know it."""
    empty: Mapping[Any, Any] = MappingProxyType({})
    return ServiceSpec(
        name=name,
        title=title,
        command=(),
        local=(),
        init=(),
        environment=empty,
        secrets=(),
        mounts=(),
        scratch=(),
        ports=empty,
        published=False,
        depends_on=(),
        ready=Ready(seconds=PATIENCE_SECONDS),
        stop_signal="SIGTERM",
        stop_seconds=10,
        unless="",
    )


def render(
    model: Model,
    chosen: Scope,
    location: Location,
    *,
    secrets: Mapping[str, Path],
    contents: Mapping[str, str],
    chosen_ports: Chosen = MappingProxyType({}),
    niceness: int = 0,
    as_written: bool = False,
) -> Model:
    """The project as it is handed to Compose.

    Args:
        secrets: where each secret of the stack lies for the containers; others stay as the model says.
        contents: per service, the digest of what it mounts.
        chosen_ports: per service, the ports inside that stay published where the model says.
        niceness: 0 to 19, as of a process; turned into a share of the processor with the kernel's own steps.
        as_written: ports stay where the model says.
    """
    found = deepcopy(model)
    found["name"] = location.project
    found["services"] = {name: found["services"][name] for name in chosen.services}
    for name, config in found["services"].items():
        _keep_needs(config, chosen.services)
        if not as_written:
            publish(config, location.ports.get(name, {}), location.listen, chosen_ports.get(name, ()))
        if contents.get(name):
            config["labels"] = {**(config.get("labels") or {}), CONTENTS: contents[name]}
        if niceness:
            config["cpu_shares"] = max(2, int((config.get("cpu_shares") or DEFAULT_SHARES) / 1.25**niceness))
    for name, file in secrets.items():
        if name in (found.get("secrets") or {}):
            found["secrets"][name].pop("environment", None)
            found["secrets"][name]["file"] = str(file)
    return found


def _keep_needs(config: Model, names: Collection[str]) -> None:
    needs = {need: how for need, how in _needs(config).items() if need in names}
    config.pop("depends_on", None)
    if needs:
        config["depends_on"] = needs


def dump(model: Model) -> str:
    """The model as text that Compose reads back unchanged.

    JSON, which is YAML too and quotes every text: `1e3` or `0o17` cannot turn into numbers on the way.
    """
    text = json.dumps(model, indent=1, ensure_ascii=False)
    return AWKWARD.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def scaled(model: Model, instances: Mapping[str, int]) -> Model:
    """The same model with so many containers for each of these services."""
    found = deepcopy(model)
    for name in instances.keys() & found["services"].keys():
        config = found["services"][name]
        config.pop("scale", None)
        # A `deploy` that was not there would be another configuration.
        (config.get("deploy") or config)["replicas" if config.get("deploy") else "scale"] = instances[name]
    return found


def replicas(config: Mapping[str, Any]) -> int:
    """How many containers a service has."""
    given = (config.get("deploy") or {}).get("replicas", config.get("scale"))
    return 1 if given is None else int(given)


def image(project: str, name: str, config: Mapping[str, Any]) -> str:
    """The image of a service: the one it names, or the one Compose gives to what it builds."""
    return str(config.get("image") or f"{project}-{name}")
