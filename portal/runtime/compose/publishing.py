"""Where the ports of a project lie on this host: at the stack's base port, unless a setting chose one. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from portal.runtime.translate import VARIABLE

LISTEN = "RAGKEEP_LISTEN"
# A colon that is not inside ${NAME:-default}.
SEPARATOR = re.compile(r":(?![^{}]*\})")

Chosen = Mapping[str, frozenset[int]]


def chosen(trees: Iterable[Mapping[str, Any]], settings: Mapping[str, str]) -> Chosen:
    """Service -> ports inside whose place on this host comes from a variable that has been set.

    Args:
        trees: the stack file and its overlays as they were written, variables and all.
    """
    found: dict[str, frozenset[int]] = {}
    for tree in trees:
        for name, config in (tree.get("services") or {}).items():
            inside = (_chosen_target(entry, settings) for entry in (config or {}).get("ports") or [])
            found[name] = found.get(name, frozenset()) | {port for port in inside if port}
    return found


def _chosen_target(entry: object, settings: Mapping[str, str]) -> int:
    """The port inside, if a setting chose where it is published; else 0."""
    if isinstance(entry, Mapping):
        published, target = str(entry.get("published", "")), str(entry.get("target", ""))
    else:
        *before, target = SEPARATOR.split(str(entry))
        published, target = before[-1] if before else "", target.partition("/")[0]
    names = {match["name"] for match in VARIABLE.finditer(published)}
    return int(target) if target.isdigit() and any(settings.get(name or "") for name in names) else 0


def publish(config: Mapping[str, Any], ports: Mapping[int, int], listen: str, kept: Collection[int]) -> None:
    """Put a service's published ports where `ports` says; those it does not know, and `kept` ones, stay.

    What names no address is published at `listen`, not everywhere as is Docker's habit.
    """
    for entry in config.get("ports") or []:
        if not entry.get("published"):
            continue
        entry.setdefault("host_ip", listen)
        if entry["target"] in ports and entry["target"] not in kept:
            entry["published"] = str(ports[entry["target"]])


def published(config: Mapping[str, Any]) -> dict[int, int]:
    """Port inside -> port of this host, of one service; ranges are Docker's to choose from and left out."""
    entries = config.get("ports") or []
    return {entry["target"]: int(entry["published"]) for entry in entries if str(entry.get("published", "")).isdigit()}
