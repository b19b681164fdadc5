"""How many containers a service may have. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.runtime.errors import ScaleRefusedError
from portal.runtime.spec import ServiceSpec

MOST = 50


def check(service: ServiceSpec, config: Mapping[str, Any], instances: int) -> None:
    """Whether a service of this configuration can have so many containers.

    Raises:
        ScaleRefusedError: it cannot; says why.
    """
    if not 1 <= instances <= MOST:
        raise ScaleRefusedError(service.name, f"can have 1 to {MOST} instances, not {instances}; stop it to have none")
    if instances > 1 and (why := obstacle(service, config)):
        raise ScaleRefusedError(service.name, f"has one instance only: {why}")


def obstacle(service: ServiceSpec, config: Mapping[str, Any]) -> str:
    """Why two containers of a service cannot run at a time; empty when they can."""
    if service.single:
        return service.single
    if config.get("container_name"):
        return "its container has a name of its own"
    if any(str(entry.get("published", "")).isdigit() for entry in config.get("ports") or []):
        return "it publishes a port of this host"
    return ""
