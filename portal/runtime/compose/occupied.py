"""Which of the ports a stack wants are taken, and by whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from portal.runtime import ports
from portal.runtime.compose.containers import PROJECT, SERVICE
from portal.runtime.compose.engine import Engine


def taken(engine: Engine, project: str, wanted: Collection[int]) -> dict[int, str]:
    """Port -> a few words about who holds it. What the project's own containers publish does not count.

    Containers are asked for first: the process that listens for them is Docker's own, and says nothing to anybody.
    """
    own, others = set[int](), dict[int, str]()
    for container in engine.containers(running=True):
        published = {entry["PublicPort"] for entry in container.get("Ports") or [] if entry.get("PublicPort")}
        if (container.get("Labels") or {}).get(PROJECT) == project:
            own |= published
        else:
            others.update(dict.fromkeys(published, _holder(container)))
    left = set(wanted) - own
    listening = ports.holders(left - set(others))
    return {port: others.get(port) or listening[port][1] for port in sorted(left) if port in {*others, *listening}}


def _holder(container: Mapping[str, Any]) -> str:
    labels = container.get("Labels") or {}
    if labels.get(PROJECT):
        return f"service {labels.get(SERVICE, '')} of the Compose project {labels[PROJECT]}"
    return f"the container {container['Names'][0].lstrip('/')}"
