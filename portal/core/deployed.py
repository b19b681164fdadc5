"""What of a stack was deployed last: starting it again means exactly that, whatever its files say by now."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from portal.core import places
from portal.runtime.compose.record import write_private
from portal.runtime.protocol import Plan, Rendered, Report
from portal.runtime.spec import StackSpec


def deployed_get(stack: str) -> Rendered | None:
    """What was deployed last; None before the first deploy."""
    try:
        return Rendered(**json.loads(_file(stack).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def deployed_set(stack: str, rendered: Rendered | None) -> None:
    """From now on this is what a start starts; None: whatever the stack's files say."""
    if rendered is None:
        _file(stack).unlink(missing_ok=True)
    else:
        write_private(_file(stack), json.dumps(asdict(rendered)))


def start_deployed(spec: StackSpec, *, services: Collection[str] | None = None, report: Report | None = None) -> Plan:
    """Start these services (None: all) as they were deployed, and wait until they are healthy.

    Raises:
        StackRuntimeError: as Runtime.apply.
    """
    release = deployed_get(spec.project)
    return places.runtime().apply(spec, services=services, report=report, release=release)


def _file(stack: str) -> Path:
    return places.runtime().paths.root(stack) / "deployed.json"
