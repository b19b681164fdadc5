"""What is looked at before a deploy begins: ports, disk, memory, graphics memory, and the version of the database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from backups.process import ProcessError, run
from portal.core import places
from portal.core.deployed import deployed_get
from portal.runtime.errors import StackRuntimeError
from portal.runtime.protocol import Action, Plan, Problem, Rendered
from portal.runtime.spec import StackSpec
from portal.stacks.touching import database_service, major_obstacle, major_of

DISK_BYTES = 1 << 30
# What a service is taken to need while nobody has measured it.
SERVICE_BYTES = 128 << 20
GPU_MIB = 512
BEGINNINGS = (Action.CREATE, Action.START, Action.RECREATE)


@dataclass(frozen=True, slots=True)
class Machine:
    """What is left: bytes of disk and memory, MiB of graphics memory (None: no GPU is to be seen)."""

    disk_bytes: int
    memory_bytes: int
    gpu_mib: int | None


def machine_now(folder: Path) -> Machine:
    """Measure; `folder` says which disk."""
    while not folder.exists():
        folder = folder.parent
    return Machine(shutil.disk_usage(folder).free, _memory_available(), _gpu_free())


def _memory_available() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gpu_free() -> int | None:
    argv = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        told = run(argv, timeout=10)
    except ProcessError:
        return None
    sizes = [int(line) for line in told.stdout.split() if line.isdigit()]
    return sum(sizes) if sizes else None


def shortages(machine: Machine, needed_bytes: int, wants_gpu: Iterable[str]) -> list[Problem]:
    """What this machine has too little of, each with its remedy.

    Args:
        needed_bytes: memory that the deploy takes besides what is in use.
        wants_gpu: services to be started that ask for a GPU.
    """
    found = []
    if machine.disk_bytes < DISK_BYTES:
        message = f"only {machine.disk_bytes >> 20} MiB of disk are free, a deploy wants {DISK_BYTES >> 20}"
        found.append(Problem("disk", message, "make room: the clean-up shows what can go"))
    if machine.memory_bytes < needed_bytes:
        message = f"{machine.memory_bytes >> 20} MiB of memory are free, starting takes about {needed_bytes >> 20}"
        found.append(Problem("memory", message, "stop other programs, or give the machine more memory"))
    for service in wants_gpu:
        if machine.gpu_mib is not None and machine.gpu_mib < GPU_MIB:
            message = f"{service} asks for a GPU, and {machine.gpu_mib} MiB of graphics memory are free"
            found.append(Problem(f"services.{service}", message, "end what uses the GPU: nvidia-smi lists it"))
    return found


def memory_needed(plan: Plan, used: Mapping[str, int | None], doubled: Iterable[str]) -> int:
    """Bytes that a deploy takes besides what is in use: what is new, and what runs twice while it is replaced."""
    twice = set(doubled)
    new = [change.service for change in plan.changes if change.action in (Action.CREATE, Action.START)]
    again = [change.service for change in plan.changes if change.action is Action.RECREATE and change.service in twice]
    return sum(used.get(name) or SERVICE_BYTES for name in (*new, *again))


def gpu_services(text: str) -> list[str]:
    """The services of a rendered file that ask for a graphics processor."""
    services: dict[str, Any] = yaml.safe_load(text).get("services") or {}
    return [name for name, config in services.items() if _asks_for_gpu(config)]


def _asks_for_gpu(config: Mapping[str, Any]) -> bool:
    resources = (config.get("deploy") or {}).get("resources") or {}
    devices = (resources.get("reservations") or {}).get("devices") or []
    return bool(config.get("gpus")) or any("gpu" in (device.get("capabilities") or []) for device in devices)


def problems(spec: StackSpec, plan: Plan, rendered: Rendered, machine: Machine | None = None) -> list[Problem]:
    """What this machine or the data have against a deploy; empty when nothing is in the way.

    Raises:
        StackRuntimeError: the runtime does not answer.
    """
    runtime = places.runtime()
    used = {status.service: status.memory_bytes for status in runtime.status(spec)}
    doubled = start_first(spec) if runtime.features.replicas else ()
    begun = {change.service for change in plan.changes if change.action in BEGINNINGS}
    graphics = [name for name in gpu_services(rendered.text) if name in begun] if runtime.features.images else []
    left = machine or machine_now(runtime.paths.var)
    found = shortages(left, memory_needed(plan, used, doubled), graphics)
    if obstacle := database_obstacle(spec, rendered):
        found.append(obstacle)
    return found


def start_first(spec: StackSpec) -> list[str]:
    """The services that are replaced by new ones beside the old."""
    return [name for name, service in spec.services.items() if service.start_first]


def database_obstacle(spec: StackSpec, rendered: Rendered) -> Problem | None:
    """Why the database cannot be started on its data; None when it can."""
    name = database_service(spec)
    if name is None or not rendered.images:
        return None
    told = major_obstacle(name, major_of(reference_of(rendered, name)), data_major(spec, name))
    remedy = "keep the image at that version; to move on, restore a backup set into a new stack with the new version"
    return Problem(f"services.{name}.image", told, remedy) if told else None


def data_major(spec: StackSpec, service: str) -> int | None:
    """The PostgreSQL major version that the stack's data was made with; None when there is none or nobody can tell."""
    return _major_of_container(spec, service) or _major_deployed(spec, service)


def _major_of_container(spec: StackSpec, service: str) -> int | None:
    folder = spec.service(service).environment.get("PGDATA", "")
    try:
        told = places.runtime().exec(spec, service, ["cat", f"{folder}/PG_VERSION"], timeout=10)
    except StackRuntimeError:
        return None
    word = told.stdout.strip().partition(".")[0]
    return int(word) if told.returncode == 0 and word.isdigit() else None


def _major_deployed(spec: StackSpec, service: str) -> int | None:
    deployed = deployed_get(spec.project)
    return major_of(reference_of(deployed, service)) if deployed else None


def reference_of(rendered: Rendered, service: str) -> str:
    """The name of a service's image in a rendered file; empty when it has none."""
    services: dict[str, Any] = yaml.safe_load(rendered.text).get("services") or {}
    return str((services.get(service) or {}).get("image", ""))
