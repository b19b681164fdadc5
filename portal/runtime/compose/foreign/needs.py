"""What of a rendered project reaches beyond it, and therefore needs an administrator. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

Config = Mapping[str, Any]

SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock")
HARMLESS_OPTIONS = frozenset({"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"})
SHARED = {"network_mode": "network", "pid": "process list", "ipc": "memory segments", "uts": "host name",
          "userns_mode": "accounts", "cgroup": "control groups"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Need:
    """One thing; `service` is empty for what belongs to the whole project, `what` a sentence without its full stop."""

    service: str
    what: str

    def __str__(self) -> str:
        return f"{self.service}: {self.what}" if self.service else self.what


def needs(model: Config, project: str, folder: str) -> list[Need]:
    """Everything in a rendered project that needs an administrator, in its order.

    Args:
        project: its name; volumes and networks of its own begin with it.
        folder: where its files are; what it mounts from there is its own.
    """
    found: list[Need] = []
    for name, config in (model.get("services") or {}).items():
        found += [Need(name, what) for rule in RULES for what in rule(config)]
        found += [Need(name, what) for what in _mounts(config, folder)]
    for kind in ("volumes", "networks"):
        for name, config in (model.get(kind) or {}).items():
            found += [Need("", what) for what in _shared(kind[:-1], name, config or {}, project)]
    return list(dict.fromkeys(found))


def _privileged(config: Config) -> Iterator[str]:
    if config.get("privileged"):
        yield "is privileged: it has every right on this host"
    hooks = [hook for key in ("post_start", "pre_stop") for hook in config.get(key) or []]
    if any(hook.get("privileged") for hook in hooks):
        yield "runs a privileged command when it starts or stops"
    if config.get("use_api_socket"):
        yield "gets Docker's socket: it has every right on this host"


def _host(config: Config) -> Iterator[str]:
    for key, called in SHARED.items():
        value = str(config.get(key) or "")
        if value == "host":
            yield f"shares the {called} of this host"
        elif value.startswith("container:"):
            yield f"shares the {called} of the container {value.partition(':')[2]}"
    for word in config.get("volumes_from") or []:
        if str(word).startswith("container:"):
            yield f"has the volumes of the container {word.split(':')[1]}"


def _rights(config: Config) -> Iterator[str]:
    if added := config.get("cap_add"):
        yield f"has further capabilities: {', '.join(sorted(map(str, added)))}"
    for option in config.get("security_opt") or []:
        if option not in HARMLESS_OPTIONS:
            yield f"runs with the security option {option}"
    for device in config.get("devices") or []:
        source = device.get("source") if isinstance(device, Mapping) else str(device).partition(":")[0]
        yield f"uses the device {source}"
    if config.get("device_cgroup_rules"):
        yield "has further rules about devices"
    for key in ("runtime", "cgroup_parent"):
        if config.get(key):
            yield f"runs with {key.replace('_', ' ')} {config[key]}"


def _build(config: Config) -> Iterator[str]:
    build = config.get("build") or {}
    if build.get("privileged") or build.get("entitlements"):
        yield "is built with further rights"
    if build.get("network") == "host":
        yield "is built in the network of this host"


RULES: tuple[Callable[[Config], Iterable[str]], ...] = (_privileged, _host, _rights, _build)


def _mounts(config: Config, folder: str) -> Iterator[str]:
    for mount in config.get("volumes") or []:
        source = str(mount.get("source") or "")
        if mount.get("type") not in ("bind", "npipe") or within(source, folder):
            continue
        if PurePosixPath(source).name in SOCKETS:
            yield f"mounts the socket {source}: it has every right on this host"
        else:
            how = "reads" if mount.get("read_only") else "writes to"
            yield f"{how} {source} of this host"


def _shared(kind: str, name: str, config: Config, project: str) -> Iterator[str]:
    called = str(config.get("name") or name)
    if config.get("external") or not called.startswith(f"{project}_"):
        yield f"uses the {kind} {called}, which others may use too"
    options = config.get("driver_opts") or {}
    if kind == "volume" and options:
        yield f"the volume {called} is {options.get('device') or 'made with options of its own'}"
    if kind == "network" and config.get("driver") in ("host", "macvlan", "ipvlan"):
        yield f"the network {called} is one of this host ({config['driver']})"


def within(path: str, folder: str) -> bool:
    """Whether a path is the folder or below it, without looking at links."""
    found, root = PurePosixPath(path), PurePosixPath(folder)
    return ".." not in found.parts and (found == root or root in found.parents)
