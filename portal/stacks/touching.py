"""Whether a deploy touches data, and whether a database would find data of another major version. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from portal.runtime.protocol import Action, Plan
from portal.runtime.spec import StackSpec

POSTGRES_TAG = re.compile(r"(?:^|/)[\w.-]*postgres(?:ql)?:(\d+)(?:[.@-]|$)")
# Files of documents are written once and never changed: replacing who reads them is no risk to them.
WRITTEN_ONCE = frozenset({"documents"})
# Settings that decide how stored data is read.
ABOUT_DATA = {"EMBED_MODEL": "documents would be found by another embedding model than the one they were taken in with"}

Images = Mapping[str, Mapping[str, str]]


def reasons(spec: StackSpec, plan: Plan, before: Images, after: Images, settings: Collection[str]) -> list[str]:
    """Sentences that say why data is touched; empty when it is not.

    Args:
        before, after: images of the release that runs and of the one to come: service -> {reference, id}.
        settings: names of the settings that change.
    """
    if spec.foreign is not None:
        # Nobody told which of its volumes are data: no set holds any.
        return []
    found = [ABOUT_DATA[name] for name in ABOUT_DATA if name in settings]
    for change in plan.changes:
        kept = _kept(spec, change.service)
        if change.action is Action.REMOVE and change.service in before:
            found.append(f"{change.service} is removed")
        elif change.action is Action.RECREATE and kept - WRITTEN_ONCE:
            found.append(f"{change.service} is replaced: it keeps the data of {_listed(kept - WRITTEN_ONCE)}")
        elif change.action is Action.RECREATE and kept and _differs(change.service, before, after):
            found.append(f"{change.service} gets another image and writes to {_listed(kept)}")
    return found


def _kept(spec: StackSpec, service: str) -> set[str]:
    """The sources of backups among the volumes of a service."""
    if service not in spec.services:
        return set()
    mounts = spec.services[service].mounts
    return {source for mount in mounts if mount.named and (source := spec.volumes.get(mount.source, ""))}


def _differs(service: str, before: Images, after: Images) -> bool:
    return service in before and before[service].get("id") != after.get(service, {}).get("id")


def _listed(names: Collection[str]) -> str:
    return " and ".join(sorted(names))


def database_service(spec: StackSpec) -> str | None:
    """The service that keeps the stack's PostgreSQL; None when it has none."""
    return next((name for name in spec.services if "postgres" in _kept(spec, name)), None)


def major_of(reference: str) -> int | None:
    """The PostgreSQL major version that the name of an image tells: 18 of `postgres:18.4`; None when it tells none."""
    found = POSTGRES_TAG.search(reference)
    return int(found[1]) if found else None


def major_obstacle(service: str, wanted: int | None, made_with: int | None) -> str:
    """Why a database must not be started on its data; empty when it may be or nobody can tell."""
    if wanted is None or made_with is None or wanted == made_with:
        return ""
    return f"{service} would be PostgreSQL {wanted}, and its data was made with PostgreSQL {made_with}"
