"""`up`, `dev` and `prod` with containers: the portal from here, everything else by its worker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from config.chosen import COMPOSE, DEVELOPMENT, PROCESSES, PRODUCTION, Chosen, read_chosen, write_chosen
from config.cli import containers
from config.cli.installation import Installation, ensure_secrets, given, open_installation
from config.cli.output import Output, UserError
from config.env import local_time_zone
from portal.runtime.compose import argv
from portal.runtime.compose.client import Docker
from portal.runtime.paths import CONTROL, RuntimePaths
from portal.runtime.protocol import Action, Plan, ServiceStatus, State
from portal.runtime.spec import StackSpec
from portal.runtime.state import read_state

NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
CERTIFICATES = ("fullchain.pem", "privkey.pem")
# A worker that is to be replaced lets its agents finish their step.
PORTAL_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `up` was told; None leaves a thing as it was."""

    port: int | None = None
    listen: str | None = None
    name: str | None = None
    mode: str | None = None
    offline: bool = False
    build: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """`actions`: `project/service` -> what was done to it."""

    set_id: str | None
    drill: str | None
    actions: dict[str, str]


def installation_for(wanted: Wanted) -> Installation:
    """The installation as it is to be, with Docker looked at; nothing is changed.

    Raises:
        UserError: Docker cannot be used, or what is wanted does not fit what is here.
    """
    containers.demand_account()
    docker = Docker.discover()
    containers.demand_docker(docker)
    paths = RuntimePaths.discover()
    chosen = _chosen(paths, wanted)
    found = open_installation(port=wanted.port, listen=wanted.listen, chosen=chosen)
    _demand_certificates(found)
    overlays = containers.overlays_of(chosen, docker, found.stack.settings)
    found = open_installation(port=wanted.port, listen=wanted.listen, chosen=replace(chosen, overlays=overlays))
    extra = {
        **containers.socket_settings(docker),
        "TZ": local_time_zone(),
        **_certificate_authorities(),
        # Kept until another `up` is told others.
        **given(("RAGKEEP_PROJECT_ROOTS",)),
    }
    return replace(found, control=found.control.derive(settings=extra))


def _chosen(paths: RuntimePaths, wanted: Wanted) -> Chosen:
    known = read_chosen(paths.var)
    if known is None and read_state(paths.root(CONTROL)) is not None:
        raise UserError(
            "this installation runs as processes",
            "set RAGKEEP_VAR to another folder; its sets can be adopted there: docs/how-to/docker.md",
            "other_runtime",
        )
    old = known or replace(PROCESSES, runtime=COMPOSE)
    name = wanted.name or old.name
    if known is not None and name != known.name:
        raise UserError(f"this installation is called {known.name}", "a second one needs its own RAGKEEP_VAR", "name")
    if not name[:1].isalpha() or not set(name) <= NAME_CHARACTERS or len(name) > 40:
        raise UserError(
            f"{name!r} cannot be a name", "use up to 40 small letters, digits and -, a letter first", "name"
        )
    mode = old.mode if wanted.mode is None else wanted.mode
    return Chosen(COMPOSE, name, mode, wanted.offline or old.offline)


def _certificate_authorities() -> dict[str, str]:
    return {"RAGKEEP_CA": os.environ["RAGKEEP_CA"]} if os.environ.get("RAGKEEP_CA") else {}


def _demand_certificates(installation: Installation) -> None:
    """In production nobody is served without TLS."""
    if installation.chosen.mode != PRODUCTION:
        return
    folder = installation.stack.settings.get("RAGKEEP_CERTIFICATES", "")
    missing = [name for name in CERTIFICATES if not (Path(folder) / name).is_file()]
    if not Path(folder).is_absolute() or missing:
        what = f"there is no {' and no '.join(missing)} in {folder}" if folder else "RAGKEEP_CERTIFICATES is not set"
        remedy = f"have RAGKEEP_CERTIFICATES name the folder with {' and '.join(CERTIFICATES)}, by its whole path"
        raise UserError(what, remedy, "no_certificates")


def bring_up(installation: Installation, wanted: Wanted, output: Output) -> Outcome:
    """Provide every image, start the portal, and have its worker start the stack and prove the first backup.

    Raises:
        UserError: something of it failed; the same command goes on where it stopped.
    """
    paths = installation.paths
    containers.demand_own_project(installation)
    containers.prepare_folders(paths.var, installation.chosen.name)
    write_chosen(paths.var, installation.chosen)
    ensure_secrets(installation)
    provide(installation, output, build=wanted.build)
    containers.hand_over(paths.var)
    containers.place_stack(installation)
    actions = _start_portal(installation, output)
    containers.hand_over(paths.var)
    told = {
        "port": installation.port,
        "listen": installation.listen,
        "settings": {**installation.stack.settings, **_sources(installation)},
    }
    found = containers.ask_inside(installation, told, output)
    return Outcome(found["set_id"], found["drill"], {**actions, **found["actions"]})


def _sources(installation: Installation) -> dict[str, str]:
    """In development the checkout is mounted."""
    return {"RAGKEEP_SOURCE": str(installation.paths.checkout)} if installation.chosen.mode == DEVELOPMENT else {}


def provide(installation: Installation, output: Output, *, build: bool) -> None:
    """Have every image here before anything is started or replaced.

    Args:
        build: build those anew that are built here, because the program may have changed.
    """
    runtime = containers.runtime_of(installation)
    for group in (installation.control, _from_checkout(installation)):
        if build:
            output.step(f"building the images of {group.project}")
            files = [group.file, *group.overlays]
            words = [*argv.compose(group.project, files, group.file.parent), "build"]
            runtime.docker.run(words, variables=_variables(group))
        runtime.provide(group, report=lambda status: output.step(f"{status.title}: {status.detail}"))


def _from_checkout(installation: Installation) -> StackSpec:
    """The stack with the files of this checkout, which images can be built from."""
    program, stack = installation.paths.checkout / "compose", installation.stack
    overlays = [program / name for name in installation.chosen.overlays]
    settings = {**_certificate_authorities(), **_sources(installation)}
    return replace(stack, file=program / "stack.yaml", overlays=tuple(overlays)).derive(settings=settings)


def _variables(group: StackSpec) -> Mapping[str, str]:
    return {**group.settings, "RAGKEEP_LISTEN": group.listen}


def _start_portal(installation: Installation, output: Output) -> dict[str, str]:
    output.step(f"starting {installation.control.project}")
    plan = containers.runtime_of(installation).apply(
        installation.control, report=lambda status: tell(output, status), timeout=PORTAL_SECONDS
    )
    return actions_of(installation.control, plan)


def tell(output: Output, status: ServiceStatus) -> None:
    """Say how a service is doing."""
    if status.state is not State.STARTING or status.detail:
        output.step(f"{status.service}: {status.state}{f', {status.detail}' if status.detail else ''}")


def actions_of(group: StackSpec, plan: Plan) -> dict[str, str]:
    """What was done to each service that was not left as it was."""
    done = [change for change in plan.changes if change.action is not Action.KEEP]
    return {f"{group.project}/{change.service}": str(change.action) for change in done}
