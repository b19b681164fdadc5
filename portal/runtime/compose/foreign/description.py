"""What is kept about a project beside its files: enough to show and stop it while they cannot be read."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from portal.runtime.compose.record import write_private
from portal.runtime.compose.render import addition
from portal.runtime.errors import StackFileError
from portal.runtime.foreign import Foreign
from portal.runtime.spec import ServiceSpec, StackSpec

FILE = "foreign.json"
SOURCE = "source"


def source_folder(root: Path) -> Path:
    """Our copy of the project's files, below the stack's folder."""
    return root / SOURCE


def write_foreign(root: Path, foreign: Foreign) -> None:
    """Keep it; the folder's owner alone reads it."""
    write_private(root / FILE, json.dumps(asdict(foreign), indent=1) + "\n")


def read_foreign(root: Path) -> Foreign | None:
    """What is known of the project; None for a stack of the product's own.

    Raises:
        StackFileError: what is kept about it was damaged.
    """
    try:
        tree = json.loads((root / FILE).read_text(encoding="utf-8"))
        return Foreign(
            files=tuple(tree["files"]),
            env_files=tuple(tree["env_files"]),
            profiles=tuple(tree["profiles"]),
            home=tree["home"],
            services=tree["services"],
            once=tuple(tree["once"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError):
        raise StackFileError(
            str(root / FILE), "expected what is kept about the stack; update it to write it anew"
        ) from None


def foreign_spec(name: str, root: Path, foreign: Foreign) -> StackSpec:
    """The stack as others ask about it; nothing of its files is read."""
    return StackSpec(
        file=source_folder(root) / foreign.files[0],
        project=name,
        services=MappingProxyType(additions(foreign.services, without=foreign.once)),
        volumes=MappingProxyType({}),
        secrets=(),
        once=foreign.once,
        overlays=tuple(source_folder(root) / file for file in foreign.files[1:]),
        foreign=foreign,
    )


def additions(titles: Mapping[str, str], *, without: Collection[str] = ()) -> dict[str, ServiceSpec]:
    """Services that nothing more is known of than their names and titles."""
    return {name: addition(name, title) for name, title in titles.items() if name not in without}
