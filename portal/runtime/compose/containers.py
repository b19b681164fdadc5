"""One container, and the condition of its service as told from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.runtime.protocol import ServiceStatus, State

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"
CONFIG_HASH = "com.docker.compose.config-hash"
# What Compose overlooks: the contents of mounted files and secrets.
CONTENTS = "ragkeep.contents"

# Without a health check, running this long counts as healthy, as supervisord has it.
SETTLED_SECONDS = 1.0
# A container that keeps ending is given up after so many restarts, unless it has run this long since.
RESTARTS = 3
STEADY_SECONDS = 10.0
# Exit statuses of a process that was told to end: 128 + SIGINT, SIGQUIT, SIGKILL, SIGTERM.
TOLD_TO_END = frozenset({0, 130, 131, 137, 143})
# The worst first: what a service of several containers is called.
WORST_FIRST = (State.FAILED, State.UNHEALTHY, State.STARTING, State.STOPPED, State.HEALTHY)


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine describes it.

    `phase` is Docker's own word (created, running, restarting, paused, exited, dead), `health` starting, healthy,
    unhealthy, or empty without a health check; `said` is the end of what the last check printed; `error` is why it
    could not be started; `started` a Unix time in seconds, None when it never ran;
    `terminal` says that it writes to one; `number` counts the containers of a service from 1; `addresses` are pairs of
    a network and the container's address in it.
    """

    id: str
    service: str
    image: str
    config_hash: str
    contents: str
    phase: str
    health: str = ""
    said: str = ""
    exit_code: int = 0
    error: str = ""
    out_of_memory: bool = False
    restarts: int = 0
    started: float | None = None
    pid: int | None = None
    terminal: bool = False
    name: str = ""
    number: str = "1"
    addresses: tuple[tuple[str, str], ...] = ()

    @property
    def is_up(self) -> bool:
        return self.phase in ("running", "restarting", "paused")


def read(tree: Mapping[str, Any]) -> Container:
    """A container from what the engine's inspect answered."""
    labels, state = tree["Config"].get("Labels") or {}, tree["State"]
    health = state.get("Health") or {}
    return Container(
        id=tree["Id"],
        service=labels.get(SERVICE, ""),
        image=tree["Image"],
        config_hash=labels.get(CONFIG_HASH, ""),
        contents=labels.get(CONTENTS, ""),
        phase=state["Status"],
        health="" if health.get("Status") in (None, "none") else health["Status"],
        said=_last_words(health),
        exit_code=state.get("ExitCode", 0),
        error=state.get("Error", ""),
        out_of_memory=bool(state.get("OOMKilled")),
        restarts=tree.get("RestartCount", 0),
        started=_seconds(state.get("StartedAt", "")),
        pid=state.get("Pid") or None,
        terminal=bool(tree["Config"].get("Tty")),
        name=tree["Name"].removeprefix("/"),
        number=labels.get(NUMBER, "1"),
        addresses=_addresses(tree),
    )


def _addresses(tree: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    networks = (tree.get("NetworkSettings") or {}).get("Networks") or {}
    return tuple((name, found["IPAddress"]) for name, found in sorted(networks.items()) if found.get("IPAddress"))


def _last_words(health: Mapping[str, Any]) -> str:
    log = health.get("Log") or []
    lines = str(log[-1].get("Output", "")).strip().splitlines() if log else []
    return lines[-1][:200] if lines and log[-1].get("ExitCode") else ""


def _seconds(moment: str) -> float | None:
    # Docker writes the year 1 for "never".
    return None if not moment or moment.startswith("0001-") else datetime.fromisoformat(moment).timestamp()


def judge(
    service: str, title: str, found: Sequence[Container], *, now: float, once: bool = False, stopped: bool = False
) -> ServiceStatus:
    """The condition of a service from its containers: that of the worst of them.

    Args:
        once: it is meant to run to its end; then that is its healthy condition.
        stopped: it was told to stop, so that its end is no failure whatever its exit status.
    """
    if not found:
        return ServiceStatus(service, title, State.STOPPED)
    told = [(container, *_condition(container, now=now, once=once, stopped=stopped)) for container in found]
    worst, state, detail = min(told, key=lambda item: WORST_FIRST.index(item[1]))
    running = worst if worst.is_up else next((container for container in found if container.is_up), worst)
    if not running.is_up:
        return ServiceStatus(service, title, state, detail)
    up = sum(container.is_up for container in found)
    return ServiceStatus(service, title, state, detail, pid=running.pid, since=running.started, instances=up)


def _condition(container: Container, *, now: float, once: bool, stopped: bool) -> tuple[State, str]:
    if container.phase == "running":
        return _running(container, now, once)
    if container.phase == "restarting":
        return _restarted(container)
    if container.phase == "paused":
        return State.UNHEALTHY, "is paused"
    if container.error:
        return State.FAILED, container.error
    return _ended(container, once=once, stopped=stopped)


def _running(container: Container, now: float, once: bool) -> tuple[State, str]:
    if container.health == "healthy":
        return State.HEALTHY, ""
    age = now - (container.started or now)
    if container.restarts and age < STEADY_SECONDS:
        return _restarted(container)
    if container.health:
        return State.UNHEALTHY if container.health == "unhealthy" else State.STARTING, container.said
    return (State.STARTING, "runs to its end") if once else (_by_age(age), "")


def _by_age(age: float) -> State:
    return State.HEALTHY if age >= SETTLED_SECONDS else State.STARTING


def _restarted(container: Container) -> tuple[State, str]:
    if container.restarts < RESTARTS:
        return State.STARTING, f"ended with status {container.exit_code} and is started again"
    return State.FAILED, "it ended again and again; see its log"


def _ended(container: Container, *, once: bool, stopped: bool) -> tuple[State, str]:
    if container.phase == "created":
        return State.STOPPED, ""
    if container.out_of_memory:
        return State.FAILED, "used more memory than its limit and was killed"
    if once and container.exit_code == 0:
        return State.HEALTHY, "has run to its end"
    if not once and (stopped or container.exit_code in TOLD_TO_END):
        return State.STOPPED, ""
    return State.FAILED, f"ended with status {container.exit_code}"


def by_service(found: Collection[Container]) -> dict[str, list[Container]]:
    """Containers by the name of their service."""
    sorted_out: dict[str, list[Container]] = {}
    for container in found:
        sorted_out.setdefault(container.service, []).append(container)
    return sorted_out
