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
from portal.runtime.errors import StackFileError, StackRuntimeError
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
    described = {spec.project: images for spec in specs if (images := _described(spec)) is not None}
    projects = [settings.PORTAL_PROJECT, *described]
    needed = {settings.AGENT_IMAGE, *(image for images in described.values() for image in images)}
    drills = Operation.objects.filter(kind="drill", state__in=ACTIVE).values_list("pk", flat=True)
    at_work = {f"{engine.THROW_AWAY}{str(pk)[:8]}" for pk in drills}
    return [*engine.images(docker, projects, needed), *engine.volumes(docker, at_work)]


def _described(spec: StackSpec) -> list[str] | None:
    """What the next deploy needs; None where nobody can tell, because the files of somebody else's project are wrong:
    then no image of that project can go."""
    try:
        return list(places.runtime().rendered(spec).images.values())
    except StackFileError:
        if spec.foreign is None:
            raise
        return None


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
        # One thing that stays must not keep the others.
        except (StackRuntimeError, OSError) as error:
            left.append(f"{piece.name} stays: {_why(error)}")
        else:
            gone.append(piece)
    return gone, left


def _why(error: StackRuntimeError | OSError) -> str:
    if isinstance(error, StackRuntimeError):
        return f"{error.message}; {error.remedy}" if error.remedy else error.message
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
