"""Releases: recording what is deployed, what became of it, and how many are kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from portal.core import places
from portal.core.cipher import SealBroken
from portal.core.deployed import deployed_set
from portal.core.services import SYSTEM, audit
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation
from portal.runtime.errors import StackRuntimeError
from portal.runtime.protocol import Rendered
from portal.runtime.spec import StackSpec
from portal.stacks import sealing
from portal.stacks.models import Release, ReleaseState, Stack, StackState
from portal.stacks.sealing import Sealed

log = logging.getLogger(__name__)
# Kept besides the one that serves; the newest failed ones stay for a look at what was wrong.
KEEP = 10
KEEP_FAILED = 5
KEPT = "ragkeep/kept"


def release_current(stack: Stack) -> Release | None:
    """The release that serves; None before the first one."""
    return stack.releases.filter(state=ReleaseState.CURRENT).first()


def release_get(stack: Stack, number: int) -> Release:
    """
    Raises:
        OperationRefused: there is none of that number.
    """
    found = stack.releases.select_related("stack").filter(number=number).first()
    if found is None:
        remedy = "`python3 manage.py releases` lists those there are."
        raise OperationRefused(f"{stack.name} has no release {number}.", code="no_release", remedy=remedy)
    return found


def release_add(
    *,
    spec: StackSpec,
    rendered: Rendered,
    operation: Operation | None = None,
    user: User | None = None,
    note: str = "",
) -> Release:
    """Record what is about to be deployed, as a candidate. `spec` has the settings it is deployed with."""
    given = settings_of(spec)
    with transaction.atomic():
        stack = Stack.objects.select_for_update().get(name=spec.project)
        number = (stack.releases.aggregate(last=Max("number"))["last"] or 0) + 1
        release = Release.objects.create(
            stack=stack,
            number=number,
            runtime=places.runtime().features.driver,
            outline=sealing.outline(rendered.text, given),
            images=image_rows(rendered),
            contents={name: dict(files) for name, files in rendered.contents.items()},
            environment=sealing.digests(given),
            sealed_file=sealing.seal(stack.name, number, Sealed(rendered.text, given)),
            author=user,
            author_name=user.get_username() if user else SYSTEM,
            note=note,
            operation=operation,
        )
        audit(action="release.added", target=stack.target, user=user, data={"release": number, "note": note})
    places.runtime().keep_images(kept_images(release))
    return release


def release_note_running(name: str) -> Release | None:
    """Record what runs as the release that serves, where it was started by other means than a deploy.

    Nothing happens when it is the one already. None when the stack does not run as its files say: then nobody knows
    what it is, and a start goes by the files.
    """
    spec, runtime = places.stack_spec(name), places.runtime()
    try:
        rendered = runtime.rendered(spec)
        described = runtime.plan(spec, release=rendered).is_empty
    except StackRuntimeError as fault:
        log.warning("stack %s has no release of what runs: %s", name, fault.message)
        described = False
    current = Release.objects.select_related("stack").filter(stack__name=name, state=ReleaseState.CURRENT).first()
    if not described:
        deployed_set(name, None)
        return None
    if current is not None and is_of(current, rendered, settings_of(spec)):
        return current
    release = release_add(spec=spec, rendered=rendered, note="Started by up.")
    release_serves(release)
    return release


def is_of(release: Release, rendered: Rendered, given: Mapping[str, str]) -> bool:
    """Whether this is what the release runs. Of one whose sealed file cannot be read nobody knows that."""
    try:
        return rendered_of(release) == rendered and settings_of(spec_of(release)) == dict(given)
    except OperationRefused as unreadable:
        log.warning("%s", unreadable.message)
        return False


def settings_of(spec: StackSpec) -> dict[str, str]:
    """The settings with which this description would run, without what the runtime adds itself."""
    known = {**places.given_settings(places.location(spec)), **spec.settings}
    return {name: value for name, value in known.items() if value}


def rendered_of(release: Release) -> Rendered:
    """What the release runs, to be deployed again.

    Raises:
        OperationRefused: its sealed file is gone.
    """
    ids = {name: image["id"] for name, image in release.images.items() if image["id"]}
    return Rendered(_unsealed(release).text, ids, release.contents)


def spec_of(release: Release, *, instead_of: Mapping[str, str] | None = None) -> StackSpec:
    """The stack with the settings of the release; settings of `instead_of` that it does not have are unset.

    Raises:
        OperationRefused: its sealed file is gone.
        StackFileError: the stack's file is not valid.
    """
    known = _unsealed(release).settings
    spec = places.stack_spec(release.stack.name)
    unset = dict.fromkeys({**places.given_settings(places.location(spec)), **(instead_of or {})}, "")
    return spec.derive(settings={**unset, **known})


def images_of(release: Release | None) -> dict[str, dict[str, str]]:
    """Reference and id of each service's image; empty without a release."""
    return release.images if release else {}


def release_serves(release: Release) -> None:
    """Record that it serves from now on, and let go of what is older than is kept."""
    deployed_set(release.stack.name, rendered_of(release))
    with transaction.atomic():
        stack = Stack.objects.select_for_update().get(pk=release.stack_id)
        earlier = stack.releases.filter(state=ReleaseState.CURRENT).exclude(pk=release.pk)
        earlier.update(state=ReleaseState.KEPT)
        served = stack.releases.filter(pk=release.pk).exclude(state=ReleaseState.CURRENT)
        if served.update(state=ReleaseState.CURRENT, deployed_at=timezone.now(), failure={}):
            audit(action="release.serves", target=stack.target, user=release.author, data={"release": release.number})
        Stack.objects.filter(pk=stack.pk).update(state=StackState.RUNNING)
    release.refresh_from_db()
    releases_retire(release.stack)


def kept_images(release: Release) -> dict[str, str]:
    """Further names for the images of a release, which keep them from being cleaned up: name -> image."""
    called = f"{KEPT}:{release.stack.name}"
    return {f"{called}-{service}-{release.number}": image["id"] for service, image in release.images.items()}


def release_failed(release: Release, failure: Mapping[str, str]) -> None:
    """Record that a candidate never served, and why; a release that served before stays kept."""
    rows = Release.objects.filter(pk=release.pk)
    rows.filter(state=ReleaseState.CANDIDATE).update(state=ReleaseState.FAILED)
    rows.update(failure=dict(failure))


def releases_retire(stack: Stack) -> list[int]:
    """Remove releases beyond those that are kept; returns their numbers."""
    kept = stack.releases.filter(state=ReleaseState.KEPT).order_by("-deployed_at", "-number")[KEEP:]
    failed = stack.releases.filter(state=ReleaseState.FAILED).order_by("-number")[KEEP_FAILED:]
    gone = [*kept, *failed]
    for release in gone:
        places.runtime().let_images_go(kept_images(release))
        Release.objects.filter(pk=release.pk).delete()
        Path(release.sealed_file).unlink(missing_ok=True)
    return [release.number for release in gone]


def _unsealed(release: Release) -> Sealed:
    try:
        return sealing.unseal(release.sealed_file, release.stack.name, release.number)
    except (OSError, SealBroken) as error:
        raise OperationRefused(
            f"The sealed file of release {release.number} cannot be read: {getattr(error, 'strerror', None) or error}.",
            code="release_unreadable",
            remedy="Choose another release; a backup set of the portal has the file.",
        ) from None


def image_rows(rendered: Rendered) -> dict[str, dict[str, str]]:
    """Reference and id of each service's image; nothing where the runtime has no images."""
    if not rendered.images:
        return {}
    services: dict[str, Any] = yaml.safe_load(rendered.text).get("services") or {}
    return {
        name: {"reference": str((services.get(name) or {}).get("image") or name), "id": found}
        for name, found in rendered.images.items()
    }
