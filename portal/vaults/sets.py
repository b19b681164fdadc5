"""What an operator does with a set: tags, a note, a pin, having it verified, deleting it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from portal.core.services import audit
from portal.operations.errors import OperationRefused
from portal.operations.models import Operation
from portal.operations.services import operation_start
from portal.vaults.models import BackupSet, Restore, RestoreState
from portal.vaults.selectors import set_last_proven

TAG = re.compile(r"[a-z0-9][a-z0-9._:-]{0,39}")
TAGS = 20
NOTE_LENGTH = 2000


def set_pin(*, found: BackupSet, pinned: bool, user: User | None = None) -> bool:
    """Pin or unpin a set; returns whether that changed anything. While it is pinned nothing and nobody removes it.

    Raises:
        OperationRefused: it is gone from its repository.
    """
    _demand_there(found)
    with transaction.atomic():
        changed = BackupSet.objects.filter(pk=found.pk, pinned=not pinned, removed_at=None).update(pinned=pinned)
        if changed:
            audit(action="set.pinned" if pinned else "set.unpinned", target=_target(found), user=user)
    found.pinned = pinned
    return bool(changed)


def set_note(*, found: BackupSet, note: str, user: User | None = None) -> None:
    """Replace the note of a set.

    Raises:
        OperationRefused: it is too long.
    """
    text = note.strip().replace("\r\n", "\n")
    if len(text) > NOTE_LENGTH:
        raise OperationRefused(
            f"The note has {len(text):,} characters, {NOTE_LENGTH:,} fit.", code="note_too_long", remedy="Shorten it."
        )
    with transaction.atomic():
        if BackupSet.objects.filter(pk=found.pk).exclude(note=text).update(note=text):
            audit(action="set.noted", target=_target(found), user=user, data={"note": text})
    found.note = text


def set_tag(
    *, found: BackupSet, add: Iterable[str] = (), remove: Iterable[str] = (), user: User | None = None
) -> list[str]:
    """Add and remove tags; returns those the set has now, sorted. Tags are stored in lower case.

    Raises:
        OperationRefused: one of them is no tag, or there would be too many.
    """
    added, removed = {tag_read(tag) for tag in add}, {tag.strip().lower() for tag in remove}
    with transaction.atomic():
        row = BackupSet.objects.select_for_update(of=("self",)).get(pk=found.pk)
        tags = sorted((set(row.tags) | added) - removed)
        if len(tags) > TAGS:
            raise OperationRefused(
                f"A set has at most {TAGS} tags, this would make {len(tags)}.",
                code="too_many_tags",
                remedy="Remove some that nobody looks for.",
            )
        if tags != sorted(row.tags):
            BackupSet.objects.filter(pk=found.pk).update(tags=tags)
            audit(action="set.tagged", target=_target(found), user=user, data={"tags": tags})
    found.tags = tags
    return tags


def tag_read(text: str) -> str:
    """A tag as it is stored.

    Raises:
        OperationRefused: it is none.
    """
    tag = text.strip().lower()
    if not TAG.fullmatch(tag):
        raise OperationRefused(
            f"{text.strip()[:60]!r} is no tag.",
            code="tag_invalid",
            remedy="Use up to 40 of letters, digits and . : - _ and begin with a letter or a digit.",
        )
    return tag


def set_verify(*, found: BackupSet, user: User | None = None) -> Operation:
    """Have every byte of a set read back and compared with what is recorded in it.

    Raises:
        OperationRefused: it is gone, or something else holds its repository.
    """
    _demand_there(found)
    return operation_start(kind="set.verify", target=f"stack:{found.stack}", params={"set": found.pk}, user=user)


def set_delete(*, found: BackupSet, user: User | None = None, why: str = "deleted by hand") -> Operation:
    """Remove a set from its repository for good; its row stays as history.

    Raises:
        OperationRefused: it is pinned, the last proven set, in use by a restore that can be undone, or gone already.
    """
    if obstacle := set_delete_obstacle(found):
        raise obstacle
    with transaction.atomic():
        operation = operation_start(
            kind="repository.forget",
            target=found.repository.scope,
            params={"sets": [found.pk], "why": why},
            user=user,
        )
        audit(action="set.delete", target=_target(found), user=user, data={"operation": str(operation.pk), "why": why})
    return operation


def set_delete_obstacle(found: BackupSet) -> OperationRefused | None:
    """Why a set cannot be deleted now, None when it can."""
    if found.removed_at:
        return _gone(found)
    if BackupSet.objects.filter(pk=found.pk, pinned=True).exists():
        return OperationRefused(f"The set {found.pk} is pinned.", code="set_pinned", remedy="Unpin it first.")
    proven = set_last_proven(stack=found.stack)
    if proven and proven.pk == found.pk:
        return OperationRefused(
            f"The set {found.pk} is the last one that was shown to come back.",
            code="set_last_proven",
            remedy="Prove a newer set by a drill first.",
        )
    if _in_use(found):
        return OperationRefused(
            f"A restore that can still be undone uses the set {found.pk}.",
            code="set_in_use",
            remedy="Keep or undo that restore first.",
        )
    return None


def _in_use(found: BackupSet) -> bool:
    uses = Q(set=found) | Q(safety_set=found)
    return Restore.objects.filter(uses, state=RestoreState.KEPT).exists()


def _demand_there(found: BackupSet) -> None:
    if found.removed_at:
        raise _gone(found)


def _gone(found: BackupSet) -> OperationRefused:
    return OperationRefused(
        f"The set {found.pk} is no longer in its repository.", code="set_gone", remedy="Choose another set."
    )


def _target(found: BackupSet) -> str:
    return f"set:{found.pk}"
