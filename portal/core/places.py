"""Where a stack's runtime finds it: the description of a stack by name, and its addresses."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.conf import settings

from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.files import stack_files
from portal.runtime.compose.foreign.description import foreign_spec, read_foreign
from portal.runtime.compose.location import Joined, Linked
from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.paths import RuntimePaths
from portal.runtime.spec import StackSpec, load_stack
from portal.runtime.state import read_state
from portal.runtime.translate import Location

RUNTIME_SETTINGS = ("LOCAL_PORT_", "RAGKEEP_VAR")
COMPOSE = "compose"
# The overlay that names other images and changes nothing else.
OFFLINE = "offline.yaml"


@cache
def _runtime(kind: str, var: Path) -> EmbeddedRuntime | ComposeRuntime:
    if kind == COMPOSE:
        return ComposeRuntime(RuntimePaths(var, control=settings.PORTAL_PROJECT))
    return EmbeddedRuntime(RuntimePaths(var))


def runtime() -> EmbeddedRuntime | ComposeRuntime:
    """The runtime of this installation."""
    return _runtime(settings.RUNTIME, Path(settings.VAR_DIR))


def in_containers() -> bool:
    """Whether this installation's services, agents and portal are containers."""
    return bool(settings.RUNTIME == COMPOSE)


def stack_spec(name: str) -> StackSpec:
    """The stack called `name`, as its file describes it and on the address it was started on.

    Raises:
        StackFileError: the file is not valid.
    """
    paths = runtime().paths
    if (foreign := read_foreign(known_folder(name))) is not None:
        return foreign_spec(name, paths.root(name), foreign)
    file, *overlays = stack_files(paths.root(name), paths.stack_file)
    spec, before = load_stack(file, project=name), read_state(paths.root(name))
    return spec.derive(listen=before.listen if before else None, overlays=overlays)


def known_folder(name: str) -> Path:
    """Where it stands what a project of somebody else consists of: all of it that those who show pages may read."""
    return Path(settings.VAR_DIR) / "known" / name


def arena_overlays(live: StackSpec) -> list[Path]:
    """The overlays of a throw-away stack beside `live`: the same images, no ports, no way out, none of its networks."""
    if not in_containers():
        return []
    same = [file for file in live.overlays if file.name == OFFLINE]
    return [*same, runtime().paths.checkout / "compose" / "arena.yaml"]


def stack_exists(name: str) -> bool:
    """Whether a stack of that name was ever started here."""
    return read_state(runtime().paths.root(name)) is not None


def location(spec: StackSpec) -> Location:
    """Addresses, volumes and secrets of the stack as of its last start, for the portal's own processes.

    In containers only `api` and `nginx` can be reached from here.
    """
    here = runtime().locate(spec)
    return Linked.of(here) if in_containers() else here


def agent_location(spec: StackSpec) -> Location:
    """The same for a backup agent."""
    here = runtime().locate(spec)
    return Joined.of(here) if in_containers() else here


def given_settings(place: Location) -> dict[str, str]:
    """What the stack was started with, without what the runtime adds itself."""
    return {name: value for name, value in place.settings.items() if not name.startswith(RUNTIME_SETTINGS)}
