"""Whom the doctor looks at from within the portal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from portal.core import places
from portal.doctor.findings import ERROR, Finding, Subject
from portal.doctor.hosts import hosts_of
from portal.runtime.errors import StackRuntimeError
from portal.runtime.paths import CONTROL
from portal.runtime.spec import StackSpec, load_stack
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
    stacks, unread = _described(names)
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
        unread=unread,
        recorded=happenings_lately(),
    )


def _described(names: Sequence[str]) -> tuple[list[StackSpec], list[Finding]]:
    """The stacks as their files say, and what is wrong with those whose files cannot be read."""
    found, unread = list[StackSpec](), list[Finding]()
    for name in names:
        try:
            found.append(places.stack_spec(name))
        except StackRuntimeError as fault:
            unread.append(Finding("stack", ERROR, f"{name}: {fault.message}", fault.remedy or "correct its file"))
    return found, unread
