"""What the portal reads from its environment; for Django the only reader of `os.environ`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.core.exceptions import ImproperlyConfigured

CHECKOUT = Path(__file__).resolve().parents[1]
PLACEHOLDERS = {"", "change-me", "changeme", "placeholder", "secret", "password", "django-insecure"}


def var_dir() -> Path:
    """The folder of all state: RAGKEEP_VAR, or `var` beside manage.py."""
    return Path(os.environ.get("RAGKEEP_VAR") or CHECKOUT / "var").resolve()


@dataclass(frozen=True, slots=True)
class Control:
    """Where the control plane's own servers listen and under which address browsers see the portal."""

    postgres_host: str
    postgres_port: int
    valkey_host: str
    valkey_port: int
    portal_url: str


def runtime() -> str:
    """What runs the stacks of this installation: `embedded`, or `compose` inside the portal's containers."""
    return os.environ.get("RAGKEEP_RUNTIME") or "embedded"


def portal_project() -> str:
    """The Compose project of the portal's own containers; says nothing where processes run."""
    return os.environ.get("RAGKEEP_PORTAL_PROJECT") or "ragkeep-portal"


def agent_image() -> str:
    """The image whose containers are backup agents."""
    return os.environ.get("RAGKEEP_AGENT_IMAGE") or "ragkeep/portal:0.1.0"


def agents_elsewhere() -> bool:
    """Whether this process has the worker start its agents, because it may not write to the Docker Engine."""
    return os.environ.get("RAGKEEP_AGENTS") == "worker"


def project_roots() -> list[Path]:
    """Folders below which Compose projects of others may be read: RAGKEEP_PROJECT_ROOTS, with colons between."""
    given = [Path(root) for root in os.environ.get("RAGKEEP_PROJECT_ROOTS", "").split(":") if root.startswith("/")]
    return given or [var_dir() / "projects"]


def alive_file() -> str:
    """The file that a worker touches at each heartbeat; empty where nobody looks for it."""
    return os.environ.get("RAGKEEP_ALIVE_FILE", "")


def control() -> Control:
    """Where the portal's servers are: RAGKEEP_CONTROL_HOST_*, RAGKEEP_CONTROL_PORT_* and RAGKEEP_PORTAL_URL, else the
    state file and this machine.

    Raises:
        ImproperlyConfigured: neither the environment nor `var/control/state.json` names a port.
    """
    state = _state(var_dir() / "control" / "state.json")
    return Control(
        postgres_host=os.environ.get("RAGKEEP_CONTROL_HOST_POSTGRES") or "127.0.0.1",
        postgres_port=_port("RAGKEEP_CONTROL_PORT_POSTGRES", state, "postgres"),
        valkey_host=os.environ.get("RAGKEEP_CONTROL_HOST_VALKEY") or "127.0.0.1",
        valkey_port=_port("RAGKEEP_CONTROL_PORT_VALKEY", state, "valkey"),
        portal_url=os.environ.get("RAGKEEP_PORTAL_URL")
        or str(state.get("settings", {}).get("RAGKEEP_PORTAL_URL", "http://127.0.0.1:8081")),
    )


def secret(name: str) -> str:
    """Read a secret of the control plane from `var/control/secrets/<name>`.

    Raises:
        ImproperlyConfigured: the file is missing, empty or still a placeholder.
    """
    path = var_dir() / "control" / "secrets" / name
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{path} cannot be read ({error.strerror}). `python3 manage.py up` creates it; run that first."
        ) from None
    if value.lower() in PLACEHOLDERS:
        raise ImproperlyConfigured(f"{path} holds no real secret. Remove it and run `python3 manage.py up`.")
    return value


def log_level() -> str:
    return os.environ.get("LOG_LEVEL", "INFO").upper()


def local_time_zone() -> str:
    """The IANA name of this machine's time zone; UTC where it has none."""
    named = os.environ.get("TZ", "").lstrip(":")
    link = Path("/etc/localtime")
    found = named if named and not named.startswith("/") else os.fspath(link.resolve()).partition("/zoneinfo/")[2]
    try:
        return ZoneInfo(found).key if found else "UTC"
    except (ZoneInfoNotFoundError, ValueError):
        return "UTC"


def _state(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error}. Run `python3 manage.py up` again.") from None
    return state if isinstance(state, dict) else {}


def _port(variable: str, state: dict[str, Any], server: str) -> int:
    # The runtime keeps the ports of each service by the port inside it; these servers have one each.
    value = os.environ.get(variable) or next(iter(state.get("ports", {}).get(server, {}).values()), None)
    try:
        return int(value or "")
    except ValueError:
        raise ImproperlyConfigured(
            f"No port for the control plane's {server}: set {variable}, or run `python3 manage.py up` first."
        ) from None
