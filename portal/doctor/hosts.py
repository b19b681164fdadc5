"""The names of other machines that an installation depends on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit


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
