"""Looking for newer images: on demand, once a day, and what was found kept for whoever asks."""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime, timedelta
from typing import Any

import yaml
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from portal.core import places
from portal.core.services import audit
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation
from portal.operations.services import operation_start
from portal.runtime.compose.client import Docker
from portal.runtime.protocol import Action, Change, Plan
from portal.runtime.spec import StackSpec
from portal.stacks import preflight, touching
from portal.stacks.models import ImageLook, Stack
from portal.stacks.updates.looking import Serving, Told, ask, serving
from portal.stacks.variables import variables

log = logging.getLogger(__name__)

KIND = "stack.updates"
EVERY = timedelta(hours=24)
# So many hours at most are added, that not every installation asks at the same time.
SPREAD = timedelta(hours=2)
FAULT_LENGTH = 500


def updates_look(stack: Stack, *, now: datetime | None = None) -> list[ImageLook]:
    """Ask the registries of the stack's images what they have, and keep it in place of what was known.

    A registry that does not answer is no error: what it did not tell stands in `fault`.

    Raises:
        StackRuntimeError: the engine does not answer, or the files are not what can be run.
        OperationRefused: the release that serves cannot be read.
    """
    docker, spec = Docker.discover(), places.stack_spec(stack.name)
    images = serving(stack, docker)
    found = list(zip(images, ask(docker, images), strict=True))
    moment, names = now or timezone.now(), settings_of_images(spec)
    with transaction.atomic():
        stack.image_looks.all().delete()
        return [
            ImageLook.objects.create(
                stack=stack, looked_at=moment, setting=_setting(image, names), effect=_effect(spec, image),
                **_fields(image, told),
            )
            for image, told in found
        ]  # fmt: skip


def _fields(image: Serving, told: Told) -> dict[str, Any]:
    return {
        "reference": image.reference,
        "services": list(image.services),
        "digest": image.digests[0] if image.digests else "",
        "newer_digest": told.digest if told.digest not in image.digests else "",
        "newer_tag": told.newest,
        "fault": told.fault[:FAULT_LENGTH],
    }


def settings_of_images(spec: StackSpec) -> dict[str, tuple[str, ...]]:
    """The settings of the stack's file that name an image, and the services that have it."""
    if spec.foreign is not None:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for file in (spec.file, *spec.overlays):
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        named = (one for one in variables(tree, containers=True) if one.name.endswith("_IMAGE"))
        found |= {one.name: one.services for one in named}
    return found


def _setting(image: Serving, names: dict[str, tuple[str, ...]]) -> str:
    return next((name for name, services in names.items() if set(image.services) & set(services)), "")


def _effect(spec: StackSpec, image: Serving) -> dict[str, list[str]]:
    """What a deploy of another image would mean."""
    plan = Plan(tuple(Change(name, Action.RECREATE, "") for name in image.services))
    before = {name: {"id": "before"} for name in image.services}
    beside = preflight.start_first(spec) if places.runtime().features.replicas else []
    return {
        "interrupted": [name for name in image.services if name not in beside],
        "touches": touching.reasons(spec, plan, before, {}, ()),
    }


def updates_switch(*, stack: Stack, daily: bool, user: User | None = None) -> None:
    """Look once a day by itself from now on, or only when asked to."""
    with transaction.atomic():
        Stack.objects.filter(pk=stack.pk).update(looks_daily=daily)
        audit(action=f"{KIND}.{'on' if daily else 'off'}", target=stack.target, user=user)
    stack.refresh_from_db()


def updates_due(now: datetime | None = None) -> list[Operation]:
    """Begin the daily look of every stack whose time has come; none where services have no images."""
    if not places.runtime().features.images:
        return []
    moment = now or timezone.now()
    due = [stack for stack in Stack.objects.filter(looks_daily=True) if moment >= next_look(stack)]
    return [operation for stack in due if (operation := _start(stack))]


def next_look(stack: Stack) -> datetime:
    """When the stack is looked at next by itself: a day and up to two hours after the last look, however that ended;
    for the first time within two hours."""
    last = Operation.objects.filter(kind=KIND, target=stack.target).order_by("-created_at").first()
    since = last.created_at + EVERY if last else stack.created_at
    # The same however often it is worked out.
    digest = hashlib.sha256(f"{stack.name} {since.isoformat()}".encode()).digest()
    return since + SPREAD * (int.from_bytes(digest[:4]) / 2**32)


def _start(stack: Stack) -> Operation | None:
    try:
        return operation_start(kind=KIND, target=stack.target)
    except OperationRefused as refused:
        log.info("looking for newer images of %s waits: %s", stack.name, refused.message)
        return None
