"""This installation: its state folder, its two groups of services, their addresses and secrets."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from backups.secret import Secret, write_secret
from config.cli.output import UserError
from portal.runtime import leftovers
from portal.runtime.embedded import EmbeddedRuntime
from portal.runtime.paths import CONTROL, RuntimePaths
from portal.runtime.protocol import ServiceStatus
from portal.runtime.spec import StackSpec, load_stack
from portal.runtime.state import read_state

DEFAULT_PORT = 8080
# Offset of the highest port above the base port.
HIGHEST_OFFSET = 21
ADMIN_EMAIL = "admin@ragkeep.local"
PORTAL_ALIAS = "portal:8000"
# What the operator may choose about the stack; remembered from one start to the next.
CHOSEN = ("OLLAMA_URL", "CHAT_MODEL", "EMBED_MODEL", "PULLABLE_MODELS", "MAX_UPLOAD_BYTES", "LOG_LEVEL", "ENVIRONMENT")
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class Installation:
    """The control plane and the stack, as they run or are to run on `port` and those above it."""

    paths: RuntimePaths
    runtime: EmbeddedRuntime
    control: StackSpec
    stack: StackSpec
    port: int
    listen: str

    @property
    def chat_url(self) -> str:
        return f"http://{_visible(self.listen)}:{self.port}"

    @property
    def portal_url(self) -> str:
        return f"http://{_visible(self.listen)}:{self.port + 1}"

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

    @property
    def is_running(self) -> bool:
        """True while any process of it lives, supervised or left over."""
        pid = self.runtime.supervisor.pid()
        return pid is not None or bool(leftovers.find(self.paths, supervisor=None))


def open_installation(*, port: int | None = None, listen: str | None = None) -> Installation:
    """The installation of this checkout, or of RAGKEEP_VAR; what is not given stays as it was.

    Raises:
        UserError: the port leaves no room for those above it, or this machine has no such address.
        StackFileError: a stack file is not valid.
    """
    paths = RuntimePaths.discover()
    old = read_state(paths.root(CONTROL))
    base = port if port is not None else (old.base_port if old else None) or DEFAULT_PORT
    if not 1024 <= base <= 65535 - HIGHEST_OFFSET:
        raise UserError(
            f"port {base} cannot be the base port", f"choose one from 1024 to {65535 - HIGHEST_OFFSET}", "port_range"
        )
    if listen is not None:
        _demand_own_address(listen)
    address = listen or (old.listen if old else "") or "127.0.0.1"
    control, stack = load_stack(paths.control_file), load_stack(paths.stack_file)
    bare = Installation(paths, EmbeddedRuntime(paths), control, stack, base, address)
    return Installation(
        paths=paths,
        runtime=bare.runtime,
        control=control.derive(base_port=base, listen=address, settings=_control_settings(bare)),
        stack=stack.derive(
            base_port=base,
            listen=address,
            settings=_stack_settings(bare),
            aliases={PORTAL_ALIAS: f"127.0.0.1:{base + 2}"},
        ),
        port=base,
        listen=address,
    )


def _control_settings(installation: Installation) -> dict[str, str]:
    return {
        "RAGKEEP_PORTAL_URL": installation.portal_url,
        "RAGKEEP_CHAT_URL": installation.chat_url,
        "RAGKEEP_LISTEN": installation.listen,
    }


def _stack_settings(installation: Installation) -> dict[str, str]:
    # nginx fills in the name by which the browser came.
    settings = {"RAGKEEP_PORTAL_ORIGIN": f"http://$host:{installation.port + 1}", "ADMIN_EMAIL": ADMIN_EMAIL}
    return settings | {name: os.environ[name] for name in CHOSEN if name in os.environ}


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
