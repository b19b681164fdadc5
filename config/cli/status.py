"""`manage.py status`: what runs, and how it is."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict

import click

from config.cli.installation import Installation, open_installation
from config.cli.output import json_option, megabytes, speaking
from portal.runtime.protocol import ServiceStatus, State


@click.command("status")
@json_option
def command(as_json: bool) -> None:
    """Show every service with its state; exit status 0 only when all of them are healthy."""
    with speaking(as_json=as_json) as output:
        installation = open_installation()
        groups = installation.statuses()
        everything = [status for group in groups.values() for status in group]
        healthy = all(status.state is State.HEALTHY for status in everything)
        memory = sum(status.memory_bytes or 0 for status in everything)
        fields = {
            "healthy": healthy,
            "memory_bytes": memory,
            "portal_url": installation.portal_url,
            "chat_url": installation.chat_url,
            "api_url": installation.api_url,
            "services": {name: [asdict(status) for status in group] for name, group in groups.items()},
        }
        output.result(fields, _text(installation, groups, memory))
    sys.exit(0 if healthy else 1)


def _text(installation: Installation, groups: dict[str, tuple[ServiceStatus, ...]], memory: int) -> str:
    lines = []
    for name, group in groups.items():
        lines.append(f"{name}:")
        lines.extend(f"  {_row(status)}" for status in group)
    if all(status.state is State.STOPPED for group in groups.values() for status in group):
        lines.append("Nothing runs; python3 manage.py up starts it.")
    lines.append(f"memory: {megabytes(memory)}")
    lines.append(f"portal: {installation.portal_url}    chat: {installation.chat_url}")
    return "\n".join(lines)


def _row(status: ServiceStatus) -> str:
    since = "" if status.since is None else f"for {_duration(time.time() - status.since)}"
    memory = megabytes(status.memory_bytes)
    return f"{status.service:<10} {status.state:<10} {memory:>8}  {since:<10} {status.detail}".rstrip()


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
