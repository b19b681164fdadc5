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
    if instances == 1:
        return
    if service.single:
        raise ScaleRefusedError(service.name, f"has one instance only: {service.single}")
    if config.get("container_name"):
        raise ScaleRefusedError(service.name, "has one instance only: its container has a name of its own")
    if any(str(entry.get("published", "")).isdigit() for entry in config.get("ports") or []):
        raise ScaleRefusedError(service.name, "has one instance only: it publishes a port of this host")
