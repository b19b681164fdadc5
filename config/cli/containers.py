"""An installation in containers, from the host: what it needs of this machine, and how one speaks to its worker."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from backups import process
from config.chosen import DEVELOPMENT, PRODUCTION, Chosen
from config.cli.installation import Installation
from config.cli.output import Output, UserError
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.client import Docker
from portal.runtime.compose.containers import PROJECT, SERVICE
from portal.runtime.compose.files import place_files
from portal.runtime.errors import EngineGoneError

# As whom everything of the portal runs; stated in the Compose files too.
UID = 1000
HOME_LABEL = "ragkeep.home"
# Below the folder of all state: what containers mount and write.
FOLDERS = (
    *("control", "control/secrets", "control/secrets/releases", "control/secrets/projects", "control/trees"),
    *("control/pending", "stacks", "known"),
    *("operations", "operations/cache", "repositories", "restored", "run"),
)
# Folders of a stack that hold its secrets.
COVERED = ("secrets", "compose/secrets")
OWNED = ("control", "stacks", "known", "operations", "repositories", "restored", "run")
COMMAND = ("python", "-m", "config.cli.main")
# What they say is compared with what runs: the files of this checkout, as it is now.
READING_FILES = ("plan", "deploy")
INSIDE = ("python", "-m", "config.cli.inside")


def demand_docker(docker: Docker) -> None:
    """
    Raises:
        UserError: there is no Docker here that this account may use.
    """
    if shutil.which("docker") is None:
        raise UserError("docker is not installed here", "install Docker Engine 20.10 or later", "no_docker")
    if not docker.has_compose:
        remedy = "install Docker's plugin compose, 2.20 or later; the old docker-compose 1.x will not do"
        raise UserError("docker has no compose command", remedy, "compose_missing")
    try:
        docker.engine.get("/version")
    except EngineGoneError as gone:
        denied = "Permission denied" in gone.message
        remedy = "use sudo, or have your account put into the group docker" if denied else gone.remedy
        raise UserError(gone.message, remedy, "engine_denied" if denied else gone.code) from None
    if not docker.host.startswith("unix://"):
        remedy = "run this on the machine of the engine itself, with DOCKER_HOST unset"
        raise UserError(f"the engine at {docker.host} is on another machine, or so it seems", remedy, "engine_remote")


def demand_account() -> None:
    """
    Raises:
        UserError: what this account writes could not be read in the containers.
    """
    if os.geteuid() not in (0, UID):
        raise UserError(
            f"the containers keep their files as uid {UID}, and you are uid {os.geteuid()}",
            f"run this with sudo, or as the account with the uid {UID}",
            "account",
        )


def socket_settings(docker: Docker) -> dict[str, str]:
    """Where the engine's socket is, and the group that may use it."""
    socket = Path(docker.host.removeprefix("unix://"))
    return {"RAGKEEP_DOCKER_SOCKET": str(socket), "RAGKEEP_DOCKER_GID": str(socket.stat().st_gid)}


def prepare_folders(var: Path, stack: str) -> None:
    """Make what the containers mount, and what is covered in them."""
    for name in (*FOLDERS, *(f"stacks/{stack}/{covered}" for covered in COVERED)):
        (var / name).mkdir(parents=True, exist_ok=True, mode=0o700)


def hand_over(var: Path) -> None:
    """Give what root made below the folder of all state to the account of the containers."""
    if os.geteuid() != 0:
        return
    for path in _below(var):
        if path.lstat().st_uid == 0:
            os.lchown(path, UID, UID)


def _below(var: Path) -> Iterator[Path]:
    yield var
    for name in OWNED:
        yield var / name
        for folder, folders, files in os.walk(var / name):
            yield from (Path(folder) / inner for inner in (*folders, *files))


def demand_own_project(installation: Installation) -> None:
    """
    Raises:
        UserError: another installation of this machine has the same name.
    """
    engine = runtime_of(installation).docker.engine
    for group in installation.groups:
        for container in engine.containers(f"{PROJECT}={group.project}"):
            home = container["Labels"].get(HOME_LABEL, str(installation.paths.var))
            if home != str(installation.paths.var):
                remedy = "give this one another name: up --runtime compose --name NAME"
                raise UserError(f"the project {group.project} belongs to {home}", remedy, "name_taken")


def runtime_of(installation: Installation) -> ComposeRuntime:
    """Its runtime, known to run containers."""
    assert isinstance(installation.runtime, ComposeRuntime)
    return installation.runtime


def running_container(runtime: ComposeRuntime, project: str, service: str) -> str | None:
    """The id of a container of that service; None when none runs."""
    found = runtime.docker.engine.containers(f"{PROJECT}={project}", f"{SERVICE}={service}", running=True)
    return str(found[0]["Id"]) if found else None


def worker_of(installation: Installation) -> str:
    """The id of the worker's container.

    Raises:
        UserError: it does not run.
    """
    found = running_container(runtime_of(installation), installation.control.project, "worker")
    if found is None:
        raise UserError("the portal's worker does not run", "run python3 manage.py up", "control_down")
    return found


def exec_words(container: str, words: Iterable[str], *, terminal: bool, variables: Mapping[str, str]) -> list[str]:
    """The command that runs another one in a container, with our own standard input."""
    given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    return ["docker", "exec", "--interactive", *(["--tty"] if terminal else []), *given, container, *words]


def place_stack(installation: Installation) -> None:
    """Copy the stack's files from this checkout to where the worker and the engine find them."""
    paths, names = installation.paths, ["stack.yaml", *installation.chosen.overlays]
    place_files(paths.root(installation.chosen.name), paths.checkout, names)
    hand_over(paths.var)


def delegate(installation: Installation, argv: list[str]) -> NoReturn:
    """Become the same verb inside the worker's container, which has everything the portal has.

    Raises:
        UserError: it does not run.
    """
    if argv[0] in READING_FILES:
        place_stack(installation)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    size = shutil.get_terminal_size()
    variables = {"COLUMNS": str(size.columns), "LINES": str(size.lines), "TERM": os.environ.get("TERM", "dumb")}
    words = exec_words(
        worker_of(installation), [*COMMAND, *argv], terminal=terminal, variables=variables if terminal else {}
    )
    sys.exit(process.call(words, env=runtime_of(installation).docker.environment({})))


def ask_inside(installation: Installation, told: Mapping[str, Any], output: Output) -> dict[str, Any]:
    """Have the worker's container carry out one request of `config.cli.inside`, and tell its progress.

    Raises:
        UserError: it failed; with its own sentence.
    """
    words = exec_words(worker_of(installation), INSIDE, terminal=False, variables={})
    with process.Running(words, env=runtime_of(installation).docker.environment({})) as running:
        running.send(json.dumps(dict(told)) + "\n")
        running.close_stdin()
        for line in running.lines():
            message = _message(line)
            if "step" in message:
                output.step(str(message["step"]))
            elif "error" in message:
                raise UserError(**message["error"])
            elif "result" in message:
                result: dict[str, Any] = message["result"]
                return result
        running.wait()
        said = running.stderr.strip().splitlines()[-1:]
    raise UserError(f"the worker ended without a result: {''.join(said)}", "read manage.py logs worker", "worker_died")


def _message(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    return message if isinstance(message, dict) else {"step": line}


def overlays_of(chosen: Chosen, docker: Docker, settings: Mapping[str, str]) -> tuple[str, ...]:
    """The Compose files that go with a choice and the stack's settings, in their order."""
    modes = {DEVELOPMENT: ("dev.yaml",), PRODUCTION: ("production.yaml",)}
    names = [*(["offline.yaml"] if chosen.offline else []), *modes.get(chosen.mode, ())]
    names += ["gpu.yaml"] if has_gpu(docker) else []
    names += ["subnets.yaml"] if any(name.startswith("RAGKEEP_SUBNET_") for name in settings) else []
    return (*names, "linked.yaml")


def has_gpu(docker: Docker) -> bool:
    """Whether containers can be given an NVIDIA GPU here."""
    known = docker.engine.get("/info") or {}
    return Path("/dev/nvidiactl").exists() and "nvidia" in (known.get("Runtimes") or {})
