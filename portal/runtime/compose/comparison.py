"""Compares what is to run with what runs. Pure; the reasons are sentences for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portal.runtime.compose.containers import CONTENTS, Container
from portal.runtime.compose.record import Deployed, Kept
from portal.runtime.compose.render import replicas
from portal.runtime.protocol import Action, Change, Plan

# What Compose's hash leaves out: it is no reason, even if something else is.
NOT_IN_THE_HASH = frozenset({"build", "pull_policy", "scale"})
CALLED = {
    "depends_on": "dependencies",
    "deploy": "limits or replicas",
    "cap_add": "capabilities",
    "cap_drop": "capabilities",
}
NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """One service as it is to run.

    `config` as rendered; `told_hash` what `config --hash` says of it; `contents` the digest of each thing it mounts,
    `digest` the one of all; `image_id` empty when the image is not on this host.
    """

    name: str
    config: Mapping[str, Any]
    told_hash: str
    contents: Mapping[str, str]
    digest: str
    image: str
    image_id: str
    once: bool = False

    def kept(self, label_hash: str) -> Kept:
        """What is remembered of it once it was started."""
        return Kept(self.config, self.told_hash, label_hash, self.contents)


def plan(
    wanted: Mapping[str, Wanted],
    running: Mapping[str, Sequence[Container]],
    deployed: Deployed,
    anew: Collection[str] = (),
    networks: Collection[str] = (),
) -> Plan:
    """What to do with each service, and with those that run but are not wanted.

    Args:
        anew: to be replaced as they are.
        networks: to be made anew, and with them the containers that are in them.
    """
    changes = {name: _change(want, running.get(name, ()), deployed) for name, want in wanted.items()}
    for name, want in wanted.items():
        if changes[name].action is not Action.CREATE:
            changes[name] = _reconnected(changes[name], [one for one in networks if one in _networks(want)])
    for name in anew:
        if changes[name].action in (Action.KEEP, Action.START, Action.SCALE):
            changes[name] = Change(name, Action.RECREATE, "somebody asked for it", ("asked",))
    _follow(changes, wanted)
    _repeat(changes, wanted)
    gone = [name for name in running if name not in wanted]
    removals = [Change(name, Action.REMOVE, "not part of the stack any more") for name in gone]
    return Plan((*changes.values(), *removals))


def renewed(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The networks that have another definition than the one they were made with; those of others are never ours."""
    both = [name for name in new if name in old and not new[name].get("external")]
    return [name for name in both if _settled(old[name]) != _settled(new[name])]


def _settled(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in definition.items() if value}


def _networks(wanted: Wanted) -> Collection[str]:
    return wanted.config.get("networks") or {}


def _reconnected(change: Change, networks: Sequence[str]) -> Change:
    if not networks:
        return change
    reasons = [change.reason] if change.action is Action.RECREATE else []
    reasons.append(f"made anew: its {'network' if len(networks) == 1 else 'networks'} {listed(networks)}")
    causes = change.causes if change.action is Action.RECREATE else ()
    return Change(change.service, Action.RECREATE, "; ".join(reasons), (*causes, "network"))


def _change(wanted: Wanted, found: Sequence[Container], deployed: Deployed) -> Change:
    name, kept = wanted.name, deployed.services.get(wanted.name)
    if not found:
        return Change(name, Action.CREATE, "has never run here" if kept is None else "its container is gone")
    if reasons := differences(wanted, found, kept):
        return Change(name, Action.RECREATE, "; ".join(reasons.values()), tuple(reasons))
    if wanted.once and all(container.phase == "exited" and not container.exit_code for container in found):
        return Change(name, Action.KEEP, "has run to its end")
    up, count = sum(container.is_up for container in found), replicas(wanted.config)
    if len(found) > count:
        return Change(name, Action.SCALE, f"it has {len(found)} containers instead of {count}", ("instances",))
    if up < count:
        return Change(name, Action.START, f"{up} of {count} run" if up else "is stopped")
    return Change(name, Action.KEEP, "runs as described")


def differences(wanted: Wanted, found: Sequence[Container], kept: Kept | None) -> dict[str, str]:
    """Why the containers of a service have to be replaced: for programs -> for people; empty when they need not be."""
    checks = {
        "configuration": _configuration(wanted, found, kept),
        "contents": _mounted(wanted, found, kept),
        "image": _image(wanted, found),
    }
    return {cause: reason for cause, reason in checks.items() if reason}


def _configuration(wanted: Wanted, found: Sequence[Container], kept: Kept | None) -> str:
    hashes = {container.config_hash for container in found}
    if hashes == {wanted.told_hash}:
        return ""
    if kept is None:
        return "its configuration changed"
    if hashes != {kept.label_hash}:
        return "somebody else changed it since it was deployed"
    if wanted.told_hash == kept.told_hash:
        return ""
    parts = changed_parts(kept.config, wanted.config)
    # A newer Compose computes other hashes of the same configuration: no reason to replace anything.
    return f"its {listed(parts)} changed" if parts else ""


def _mounted(wanted: Wanted, found: Sequence[Container], kept: Kept | None) -> str:
    if all(container.contents == wanted.digest for container in found):
        return ""
    if kept is None:
        return "files it mounts changed"
    if kept.contents == wanted.contents and not any(container.contents for container in found):
        # Adopted: somebody else started it, without a label of ours.
        return ""
    names = {*wanted.contents, *kept.contents}
    changed = sorted(name for name in names if wanted.contents.get(name) != kept.contents.get(name))
    return f"what it mounts changed: {listed(changed)}" if changed else "files it mounts changed"


def _image(wanted: Wanted, found: Sequence[Container]) -> str:
    if not wanted.image_id or all(container.image == wanted.image_id for container in found):
        return ""
    return f"there is another image {wanted.image}"


def changed_parts(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names of what differs between two configurations of a service; of variables the names, never the values."""
    keys = [key for key in dict.fromkeys([*new, *old]) if key not in NOT_IN_THE_HASH]
    return [_named(key, old.get(key), new.get(key)) for key in keys if _significant(key, old) != _significant(key, new)]


def _significant(key: str, config: Mapping[str, Any]) -> object:
    value = config.get(key) or None
    if key == "labels" and isinstance(value, dict):
        return {name: text for name, text in value.items() if name != CONTENTS} or None
    return value


def _named(key: str, old: object, new: object) -> str:
    if key != "environment":
        return CALLED.get(key, key.replace("_", " "))
    before, after = (value if isinstance(value, dict) else {} for value in (old, new))
    names = sorted(name for name in {*before, *after} if before.get(name, ...) != after.get(name, ...))
    return f"environment ({listed(names)})"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; of many only the first few."""
    shown = [*names[:NAMES_SHOWN], *([f"{len(names) - NAMES_SHOWN} more"] if len(names) > NAMES_SHOWN else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _follow(changes: dict[str, Change], wanted: Mapping[str, Wanted]) -> None:
    """What lives inside another's container must be replaced with it; in the order of the file, until nothing moves."""
    moved = True
    while moved:
        moved = False
        for name, want in wanted.items():
            leaders = [lead for lead in _leaders(want.config) if lead in changes]
            replaced = [lead for lead in leaders if changes[lead].action in (Action.RECREATE, Action.CREATE)]
            if replaced and changes[name].action in (Action.KEEP, Action.START, Action.SCALE):
                reason = f"it depends on the container of {replaced[0]}"
                changes[name] = Change(name, Action.RECREATE, reason, ("follows",))
                moved = True


def _leaders(config: Mapping[str, Any]) -> list[str]:
    shared = [str(config.get(key) or "") for key in ("network_mode", "ipc", "pid")]
    found = [word.removeprefix("service:") for word in shared if word.startswith("service:")]
    found += [word.partition(":")[0] for word in config.get("volumes_from") or [] if not word.startswith("container:")]
    return found + [need for need, how in (config.get("depends_on") or {}).items() if how.get("restart")]


def _repeat(changes: dict[str, Change], wanted: Mapping[str, Wanted]) -> None:
    """What prepares a service and runs to its end does so again before each start of it."""
    for want in reversed(list(wanted.values())):
        if changes[want.name].action is Action.KEEP:
            continue
        for need in want.config.get("depends_on") or {}:
            if need in changes and wanted[need].once and changes[need].action is Action.KEEP:
                changes[need] = Change(need, Action.START, f"runs before each start of {want.name}")
