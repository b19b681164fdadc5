"""Whom the doctor looks at from within the portal, and the names an installation depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from portal.core import places
from portal.doctor.findings import Subject
from portal.runtime.errors import StackRuntimeError
from portal.runtime.paths import CONTROL
from portal.runtime.spec import load_stack
from portal.runtime.state import read_state


def hosts_of(settings: Mapping[str, str], *addresses: str) -> tuple[str, ...]:
    """The names of other machines in a stack's settings, and in these addresses of repositories."""
    found = list[str]()
    for text in (settings.get("OLLAMA_URL", ""), *addresses):
        # restic writes `s3:https://host/bucket` and `sftp:user@host:/path`.
        address = text.removeprefix("s3:").removeprefix("rest:")
        with suppress(ValueError):
            name = urlsplit(address.replace("sftp:", "sftp://", 1) if "://" not in address else address).hostname
            found.extend([name] if name else [])
    return tuple(dict.fromkeys(found))


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
    )
