"""Looking for what can go, and removing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from portal.cleanup import engine, files
from portal.cleanup.pieces import Piece, Sort
from portal.core import places
from portal.operations.asking import by_worker
from portal.operations.faults import runtime_faults
from portal.operations.models import ACTIVE, Operation
from portal.runtime.compose.client import Docker
from portal.runtime.spec import StackSpec
from portal.stacks.models import Stack

PATIENCE_SECONDS = 30.0


def cleanup_look() -> list[Piece]:
    """Everything that can go now; nothing is touched.

    Raises:
        OperationFailed: nobody could look.
    """
    return [Piece(Sort(told["sort"]), told["key"], told["name"], told["bytes"]) for told in _looked()]


@by_worker(patience=PATIENCE_SECONDS)
def _looked() -> list[dict[str, Any]]:
    return [asdict(piece) for piece in pieces(now=timezone.now())]


def pieces(*, now: datetime) -> list[Piece]:
    """What can go, in the process that may look everywhere.

    Raises:
        OperationFailed: the Docker Engine does not answer.
    """
    var = Path(settings.VAR_DIR)
    found = [*files.rotated_logs(var), *files.work_folders(var, now=now)]
    if places.runtime().features.images:
        with runtime_faults():
            found += _of_engine(Docker.discover())
    return found


def _of_engine(docker: Docker) -> list[Piece]:
    specs = [places.stack_spec(name) for name in Stack.objects.values_list("name", flat=True)]
    projects = [settings.PORTAL_PROJECT, *(spec.project for spec in specs)]
    needed = {settings.AGENT_IMAGE, *(image for spec in specs for image in _described(spec))}
    drills = Operation.objects.filter(kind="drill", state__in=ACTIVE).values_list("pk", flat=True)
    at_work = {f"{engine.THROW_AWAY}{str(pk)[:8]}" for pk in drills}
    return [*engine.images(docker, projects, needed), *engine.volumes(docker, at_work)]


def _described(spec: StackSpec) -> list[str]:
    """What the next deploy needs."""
    return list(places.runtime().rendered(spec).images.values())


def pieces_remove(wanted: Sequence[Piece]) -> tuple[list[Piece], list[str]]:
    """Remove these; returns what is gone, and a sentence about each that is not."""
    var, docker = Path(settings.VAR_DIR), Docker.discover()
    gone, left = list[Piece](), list[str]()
    for piece in wanted:
        try:
            if piece.sort in (Sort.IMAGES, Sort.VOLUMES):
                engine.remove(docker, piece)
            else:
                files.remove(var, piece)
        except Exception as error:  # one thing that stays must not keep the others
            left.append(f"{piece.name} stays: {error}")
        else:
            gone.append(piece)
    return gone, left
