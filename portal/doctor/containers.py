"""Docker and its Compose: whether they are there, and new enough."""

from __future__ import annotations

import re
from collections.abc import Iterator

from portal.doctor.findings import ERROR, OK, WARNING, Finding, Subject
from portal.runtime.compose import argv
from portal.runtime.compose.client import Docker
from portal.runtime.errors import ComposeFailedError, StackRuntimeError

# What `tests/docker` runs on, and the first Compose that merges our files as they are meant.
OLDEST_ENGINE, OLDEST_COMPOSE = (20, 10), (2, 20)


def check_docker(subject: Subject) -> Iterator[Finding]:
    if not subject.in_containers:
        return
    docker = Docker.discover()
    try:
        told = docker.engine.get("/version") or {}
    except StackRuntimeError as fault:
        yield Finding("docker", ERROR, fault.message, fault.remedy or "start Docker")
    else:
        yield _judged("docker", str(told.get("Version", "")), OLDEST_ENGINE)
    try:
        said = docker.run(argv.version(), timeout=30).stdout.strip()
    except ComposeFailedError as fault:
        yield Finding("compose", ERROR, fault.message, "install Docker with its Compose plugin, version 2")
    else:
        yield _judged("compose", said, OLDEST_COMPOSE)


def _judged(name: str, said: str, oldest: tuple[int, int]) -> Finding:
    found = re.search(r"(\d+)\.(\d+)[.\w+-]*", said)
    if found is None:
        return Finding(name, WARNING, f"tells no version: {said[:80]!r}", "update it")
    if (int(found[1]), int(found[2])) < oldest:
        wanted = ".".join(map(str, oldest))
        return Finding(name, ERROR, f"version {found[0]} is too old", f"update it to {wanted} or later")
    return Finding(name, OK, f"version {found[0]}")
