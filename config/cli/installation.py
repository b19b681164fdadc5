"""This installation: its state folder, its two groups of services, their addresses and secrets."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from backups.secret import Secret, write_secret
from config.chosen import PROCESSES, PRODUCTION, Chosen, is_inside, read_chosen
from config.cli.output import UserError
from portal.runtime import leftovers
from portal.runtime.compose import ComposeRuntime
from portal.runtime.compose.containers import PROJECT
from portal.runtime.compose.files import stack_files
from portal.runtime.compose.location import Linked
from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.paths import CONTROL, RuntimePaths
from portal.runtime.protocol import ServiceStatus
from portal.runtime.spec import StackSpec, load_stack
from portal.runtime.state import read_state
from portal.runtime.translate import Location

DEFAULT_PORT = 8080
# Offset of the highest port above the base port.
HIGHEST_OFFSET = 21
ADMIN_EMAIL = "admin@ragkeep.local"
PORTAL_ALIAS = "portal:8000"
# What the operator may choose about the stack; remembered from one start to the next.
CHOSEN = ("OLLAMA_URL", "CHAT_MODEL", "EMBED_MODEL", "PULLABLE_MODELS", "MAX_UPLOAD_BYTES", "LOG_LEVEL", "ENVIRONMENT")
IMAGES = ("POSTGRES_IMAGE", "REDIS_IMAGE", "CHROMA_IMAGE", "OLLAMA_IMAGE", "NGINX_IMAGE", "PORTAL_IMAGE")
# The same where it runs in containers.
CONTAINERS_CHOSEN = (
    *IMAGES, "OLLAMA_CPUS", "OLLAMA_MEMORY", "OLLAMA_GPUS", "RAGKEEP_GID", "RAGKEEP_CERTIFICATES", "RAGKEEP_HTTP_PORT",
    "RAGKEEP_PORT", "RAGKEEP_PORTAL_PORT", "RAGKEEP_PORTAL_ORIGIN", "RAGKEEP_SUBNET_EDGE", "RAGKEEP_SUBNET_FRONT",
    "RAGKEEP_SUBNET_BACKEND", "RAGKEEP_SUBNET_OUTLET", "RAGKEEP_DEV_POSTGRES_PORT", "RAGKEEP_DEV_VECTORDB_PORT",
)  # fmt: skip
PORTAL_OFFLINE = "portal-offline.yaml"
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class Installation:
    """The control plane and the stack, as they run or are to run on `port` and those above it."""

    paths: RuntimePaths
    runtime: EmbeddedRuntime | ComposeRuntime
    control: StackSpec
    stack: StackSpec
    port: int
    listen: str
    chosen: Chosen = PROCESSES

    @property
    def chat_url(self) -> str:
        return self._url(self.stack.settings.get("RAGKEEP_PORT") or self.port)

    @property
    def portal_url(self) -> str:
        return self._url(self.stack.settings.get("RAGKEEP_PORTAL_PORT") or self.port + 1)

    def _url(self, port: object) -> str:
        scheme = "https" if self.chosen.mode == PRODUCTION else "http"
        return f"{scheme}://{_visible(self.stack.settings.get('RAGKEEP_LISTEN') or self.listen)}:{port}"

    @property
    def api_url(self) -> str:
        return f"{self.chat_url}/api"

    @property
    def groups(self) -> tuple[StackSpec, StackSpec]:
        return (self.control, self.stack)

    @property
    def exists(self) -> bool:
        """True when `up` has run here before."""
        return read_state(self.paths.root(CONTROL)) is not None

    def secret(self, group: StackSpec, name: str) -> Path:
        return self.paths.root(group.project) / "secrets" / name

    def statuses(self) -> dict[str, tuple[ServiceStatus, ...]]:
        """The condition of every service by group: `control` and the stack's name."""
        return {group.project: self.runtime.status(group) for group in self.groups}

    def named(self, service: str | None) -> list[tuple[StackSpec, str]]:
        """The service called that, NAME or GROUP/NAME, with its group; every one for None.

        Raises:
            UserError: there is none of that name.
        """
        everything = [(group, name) for group in reversed(self.groups) for name in group.services]
        if service is None:
            return everything
        wanted = [(group, name) for group, name in everything if service in (name, f"{group.project}/{name}")]
        if not wanted:
            known = ", ".join(f"{group.project}/{name}" for group, name in everything)
            raise UserError(f"there is no service {service}", f"choose one of: {known}", "no_service")
        return wanted[:1]

    @property
    def place(self) -> Location:
        """Where the stack is, for this process."""
        here = self.runtime.locate(self.stack)
        return Linked.of(here) if is_inside() else here

    @property
    def is_running(self) -> bool:
        """True while any process or container of it lives, supervised or left over."""
        if isinstance(self.runtime, ComposeRuntime):
            groups = (
                self.runtime.docker.engine.containers(f"{PROJECT}={group.project}", running=True)
                for group in self.groups
            )
            return any(groups)
        pid = self.runtime.supervisor.pid()
        return pid is not None or bool(leftovers.find(self.paths, supervisor=None))


def open_installation(
    *, port: int | None = None, listen: str | None = None, chosen: Chosen | None = None
) -> Installation:
    """The installation of this checkout, or of RAGKEEP_VAR; what is not given stays as it was.

    Raises:
        UserError: the port leaves no room for those above it, or this machine has no such address.
        StackFileError: a stack file is not valid.
    """
    var = RuntimePaths.discover().var
    choice = chosen or read_chosen(var) or PROCESSES
    paths = RuntimePaths(var, control=choice.portal_project if choice.in_containers else CONTROL)
    old = read_state(paths.root(CONTROL))
    base = port if port is not None else (old.base_port if old else None) or DEFAULT_PORT
    if not 1024 <= base <= 65535 - HIGHEST_OFFSET:
        raise UserError(
            f"port {base} cannot be the base port", f"choose one from 1024 to {65535 - HIGHEST_OFFSET}", "port_range"
        )
    if listen is not None:
        _demand_own_address(listen)
    address = listen or (old.listen if old else "") or "127.0.0.1"
    if choice.in_containers:
        return in_containers(paths, choice, base, address)
    control, stack = load_stack(paths.control_file), load_stack(paths.stack_file)
    bare = Installation(paths, EmbeddedRuntime(paths), control, stack, base, address)
    return replace(
        bare,
        control=control.derive(base_port=base, listen=address, settings=_control_settings(bare)),
        stack=stack.derive(
            base_port=base,
            listen=address,
            settings=_stack_settings(bare) | given(CHOSEN),
            aliases={PORTAL_ALIAS: f"127.0.0.1:{base + 2}"},
        ),
    )


def in_containers(paths: RuntimePaths, chosen: Chosen, port: int, listen: str) -> Installation:
    """The installation as containers; the stack by its own copy of its files once it has one."""
    program = paths.checkout / "compose"
    control = load_stack(program / "portal.yaml", project=chosen.portal_project)
    control = control.derive(overlays=[program / PORTAL_OFFLINE] if chosen.offline else [])
    file, *overlays = stack_files(paths.root(chosen.name), paths.stack_file)
    if file == paths.stack_file:
        overlays = [program / name for name in chosen.overlays]
    stack = load_stack(file, project=chosen.name).derive(base_port=port, listen=listen, overlays=overlays)
    before = read_state(paths.root(chosen.name))
    kept = {**(before.settings if before else {}), **given((*CHOSEN, *CONTAINERS_CHOSEN))}
    bare = Installation(paths, ComposeRuntime(paths), control, stack.derive(settings=kept), port, listen, chosen)
    link = {"RAGKEEP_PORTAL_NETWORK": f"{chosen.portal_project}_stacks"}
    settings = {"RAGKEEP_VAR": str(paths.var), "RAGKEEP_NAME": chosen.name, **_control_settings(bare), **given(IMAGES)}
    return replace(
        bare,
        control=control.derive(base_port=port, listen=listen, settings=settings),
        stack=bare.stack.derive(settings={**_stack_settings(bare), **link, **kept}),
    )


def given(names: Iterable[str]) -> dict[str, str]:
    """Those of the variables that the caller's environment has."""
    return {name: os.environ[name] for name in names if name in os.environ}


def _control_settings(installation: Installation) -> dict[str, str]:
    return {
        "RAGKEEP_PORTAL_URL": installation.portal_url,
        "RAGKEEP_CHAT_URL": installation.chat_url,
        "RAGKEEP_LISTEN": installation.listen,
    }


def _stack_settings(installation: Installation) -> dict[str, str]:
    # nginx fills in the name by which the browser came.
    scheme, port = installation.portal_url.partition(":")[0], installation.portal_url.rpartition(":")[2]
    return {"RAGKEEP_PORTAL_ORIGIN": f"{scheme}://$host:{port}", "ADMIN_EMAIL": ADMIN_EMAIL}


def _demand_own_address(listen: str) -> None:
    try:
        family = socket.AF_INET6 if ip_address(listen).version == 6 else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((listen, 0))
    except (ValueError, OSError):
        remedy = "give an IP address of this machine, or 0.0.0.0 for all of them"
        raise UserError(f"nothing can listen on {listen!r} here", remedy, "address") from None


def _visible(listen: str) -> str:
    return socket.gethostname() if listen in WILDCARDS else listen


def ensure_secrets(installation: Installation) -> None:
    """Create every secret that does not exist yet; existing ones stay."""
    for group in installation.groups:
        installation.secret(group, "x").parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in group.secrets:
            if name != "admin_password":
                _ensure(installation.secret(group, name), secrets.token_urlsafe(32))
    _ensure(installation.secret(installation.control, "admin_password"), secrets.token_urlsafe(15))
    _ensure(installation.secret(installation.stack, "admin_password"), admin_password(installation).reveal())


def unshown_password(installation: Installation) -> Secret | None:
    """The administrator's first password while no `up` has shown it yet, however many have failed before."""
    return None if _shown(installation).exists() else admin_password(installation)


def password_shown(installation: Installation) -> None:
    """Note that somebody was told the password: it is never printed again."""
    _shown(installation).touch(mode=0o600)


def _shown(installation: Installation) -> Path:
    return installation.secret(installation.control, "admin_password").with_suffix(".shown")


def admin_password(installation: Installation) -> Secret:
    """The password the administrator was given at first; it may have been changed since.

    Raises:
        UserError: it was removed.
    """
    path = installation.secret(installation.control, "admin_password")
    try:
        return Secret.from_file(path)
    except (OSError, ValueError):
        raise UserError(f"{path} cannot be read", "run manage.py up, which creates it") from None


def _ensure(path: Path, value: str) -> None:
    with suppress(FileExistsError):
        write_secret(path, value)
