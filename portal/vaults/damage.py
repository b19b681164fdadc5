"""What a check found, kept where people look: in the repository's row and in the rows of the sets it affects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from portal.core.services import audit
from portal.operations.errors import OperationFailed
from portal.vaults.models import BackupSet, Repository, SetCopy

BY_CHECK, BY_READING = "check", "reading"
NAMED = 5
REMEDY = (
    "`python3 manage.py repositories repair {name}` mends the repository, and a backup after that stores anew what the "
    "stack still has. Until then restore from another set."
)


def check_slice(repository: Repository) -> tuple[int, int]:
    """Which slice of how many is read next. One that had an error is read again before any other."""
    bad = repository.check_error
    if bad.get("parts"):
        return int(bad["part"]), int(bad["parts"])
    return repository.check_part % repository.check_parts + 1, repository.check_parts


def damage_record(*, repository: Repository, found: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what a check or repair found (the agent's result) and return it as `Repository.check_error` holds it:
    {code, message, remedy, sets, copies, packs, errors, part, parts}, empty when all is well."""
    damaged, missing = _affected(repository, found)
    copies = _affected_copies(repository, found)
    error = _error(repository, found, sorted({*damaged, *missing}), copies)
    with transaction.atomic():
        rows = BackupSet.objects.filter(repository=repository)
        rows.filter(verify_error__by=BY_CHECK).exclude(pk__in=[*damaged, *missing]).update(verify_error={})
        _mark(damaged, "set_damaged", "Data that this set needs is damaged in its repository.")
        _mark(missing, "set_missing", "Its snapshot is no longer in its repository.")
        changes: dict[str, Any] = {"check_error": error, "checked_at": timezone.now()}
        if not error:
            changes |= {"check_part": found["part"] % repository.check_parts or repository.check_parts}
        Repository.objects.filter(pk=repository.pk).update(**changes)
        audit(
            action="repository.damaged" if error else "repository.checked",
            target=repository.scope,
            data={"sets": error.get("sets", []), "part": found["part"], "parts": found["parts"]},
        )
    return error


def damage_raise(error: Mapping[str, Any]) -> None:
    """Raises: OperationFailed: when there is something in `error`, with its sentence and the sets it names."""
    if error:
        raise OperationFailed(
            error["message"],
            code=error["code"],
            remedy=error["remedy"],
            data={"sets": error["sets"], "copies": error["copies"], "errors": error["errors"]},
        )


def set_read_record(*, found: BackupSet, result: Mapping[str, Any]) -> None:
    """Keep how reading a set back ended.

    Raises:
        OperationFailed: it is not as it was stored.
    """
    error: dict[str, Any] = {}
    if not result["passed"]:
        first, count = result["wrong"][0], result["wrong_count"]
        files = "1 file" if count == 1 else f"{count} files"
        error = {
            "code": "set_damaged",
            "by": BY_READING,
            "message": f"{files} of the set {found.pk} cannot be read back: {first}",
            "remedy": f"Check the repository: `python3 manage.py repositories check {found.repository.name}`.",
            "files": result["wrong"],
        }
    changes = {"verify_error": error} if error else {"verify_error": {}, "verified_at": timezone.now()}
    with transaction.atomic():
        BackupSet.objects.filter(pk=found.pk).update(**changes)
        audit(action="set.damaged" if error else "set.verified", target=f"set:{found.pk}", data=dict(result))
    if error:
        raise OperationFailed(
            error["message"], code=error["code"], remedy=error["remedy"], data={"files": error["files"]}
        )


def _affected(repository: Repository, found: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Ids of sets that need something damaged, and of sets whose snapshot is gone."""
    here = BackupSet.objects.filter(repository=repository, removed_at=None).exclude(snapshot_id="")
    rows = list(here.values_list("pk", "snapshot_id"))
    affected, present = set(found["affected"]), found["present"]
    damaged = [pk for pk, snapshot in rows if snapshot in affected or present.get(pk) in affected]
    return damaged, [pk for pk, _ in rows if pk not in present]


def _affected_copies(repository: Repository, found: Mapping[str, Any]) -> list[str]:
    copies = SetCopy.objects.filter(repository=repository, snapshot_id__in=found["affected"])
    return sorted(copies.values_list("set_id", flat=True))


def _mark(sets: list[str], code: str, message: str) -> None:
    error = {"code": code, "by": BY_CHECK, "message": message, "remedy": "Restore from another set."}
    BackupSet.objects.filter(pk__in=sets).update(verify_error=error)


def _error(repository: Repository, found: Mapping[str, Any], sets: list[str], copies: list[str]) -> dict[str, Any]:
    if not found["errors"] and not sets:
        return {}
    return {
        "code": "index_damaged" if found["index_damaged"] else "repository_damaged",
        "message": f"The repository {repository.name} is damaged. {_named(sets, copies)}",
        "remedy": REMEDY.format(name=repository.name),
        "sets": sets,
        "copies": copies,
        "packs": found["packs"],
        "errors": found["errors"],
        "part": found["part"],
        "parts": found["parts"],
    }


def _named(sets: list[str], copies: list[str]) -> str:
    words = [f"{what}: {_short(ids)}." for what, ids in (("Sets affected", sets), ("Copies affected", copies)) if ids]
    return " ".join(words) or "No set needs what is damaged."


def _short(ids: list[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more
