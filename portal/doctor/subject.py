"""Whom the doctor looks at from within the portal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from portal.core import places
from portal.doctor.findings import Subject
from portal.doctor.hosts import hosts_of
from portal.runtime.errors import StackRuntimeError
from portal.runtime.paths import CONTROL
from portal.runtime.spec import load_stack
from portal.runtime.state import read_state
from portal.watch.selectors import happenings_lately


def subject(names: Sequence[str], *addresses: str) -> Subject:
    """The installation this process belongs to.

    Args:
        names: its stacks.
        addresses: of its repositories.
    """
    runtime = places.runtime()
    state = read_state(runtime.paths.root(CONTROL))
    in_processes = state is not None and not runtime.features.images
    control = (load_stack(runtime.paths.control_file),) if in_processes else ()
    stacks = tuple(places.stack_spec(name) for name in names)
    settings: dict[str, str] = {}
    for spec in stacks:
        with suppress(StackRuntimeError):
            settings |= dict(places.location(spec).settings)
    certificates = settings.get("RAGKEEP_CERTIFICATES")
    return Subject(
        paths=runtime.paths,
        runtime=runtime,
        groups=(*control, *stacks),
        hosts=hosts_of(settings, *addresses),
        base_port=state.base_port if state else None,
        certificates=Path(certificates) if certificates else None,
        recorded=happenings_lately(),
    )
