"""Where a stack's runtime finds it: the description of a stack by name, and its addresses on this host."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.conf import settings

from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.paths import RuntimePaths
from portal.runtime.spec import StackSpec, load_stack
from portal.runtime.state import read_state
from portal.runtime.translate import Location

RUNTIME_SETTINGS = ("LOCAL_PORT_", "RAGKEEP_VAR")


@cache
def _runtime(var: Path) -> EmbeddedRuntime:
    return EmbeddedRuntime(RuntimePaths(var))


def runtime() -> EmbeddedRuntime:
    """The runtime of this installation."""
    return _runtime(Path(settings.VAR_DIR))


def stack_spec(name: str) -> StackSpec:
    """The stack called `name`, as its file describes it and on the address it was started on.

    Raises:
        StackFileError: the file is not valid.
    """
    paths = runtime().paths
    spec, before = load_stack(paths.stack_file, project=name), read_state(paths.root(name))
    return spec.derive(listen=before.listen) if before else spec


def stack_exists(name: str) -> bool:
    """Whether a stack of that name was ever started here."""
    return read_state(runtime().paths.root(name)) is not None


def location(spec: StackSpec) -> Location:
    """Ports, volumes and secrets of the stack as of its last start."""
    return runtime().locate(spec)


def given_settings(place: Location) -> dict[str, str]:
    """What the stack was started with, without what the runtime adds itself."""
    return {name: value for name, value in place.settings.items() if not name.startswith(RUNTIME_SETTINGS)}
