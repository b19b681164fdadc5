"""Agent jobs outside of any operation: making a repository, looking before a restore."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from portal.core import places
from portal.operations import fencing
from portal.operations.errors import OperationFailed
from portal.vaults.errands import errand
from portal.vaults.jobs import envelope, extra_place, host_of, repository_place, stack_place
from portal.vaults.models import BackupSet, ExtraSource, Repository


def repository_init(repository: Repository) -> str:
    """Make the restic repository and return its id; one that our password opens already is taken as it is.

    Raises:
        OperationFailed: it cannot be made, or another password opens it.
    """
    try:
        return str(_run("init", repository=repository_place(repository))["id"])
    except OperationFailed as failed:
        if failed.code == "repository_exists" and failed.data.get("id"):
            return str(failed.data["id"])
        raise


def repository_probe(repository: Repository, *, create_bucket: bool = False) -> dict[str, Any]:
    """Try the place of a repository out; the report as backups.probe gives it.

    Raises:
        OperationFailed: not even that was possible.
    """
    return _run("probe", repository=repository_place(repository), options={"create_bucket": create_bucket})


def sources_look(stack: str, sources: Sequence[ExtraSource]) -> dict[str, dict[str, Any] | None]:
    """Try further sources of a stack out, saved or not: name -> None, or what is wrong with it.

    Raises:
        OperationFailed: not even that was possible.
    """
    spec = places.stack_spec(stack)
    found = _run("look", stack={**stack_place(spec), "extra": [extra_place(spec, source) for source in sources]})
    return dict(found["sources"])


def restore_preview(found: BackupSet, *, into: str = "", options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a restore of this set would bring and take; changes nothing. Keys as the agent's preflight: `set`,
    `sources`, `stops`, `versions`, `space`, `preview`.

    Args:
        into: another stack than the set's own.
        options: of the agent's preflight, such as the chosen sources.

    Raises:
        OperationFailed: the restore could not even begin.
    """
    stack = stack_place(places.stack_spec(into or found.stack))
    return _run(
        "preflight",
        stack=stack,
        repository=repository_place(found.repository),
        set=found.pk,
        options={**(options or {}), "host": host_of(stack)},
    )


def _run(kind: str, **parts: Any) -> dict[str, Any]:  # noqa: ANN401 - decoded JSON
    operation = uuid.uuid4()
    job = {**envelope(kind, str(operation), 1, fencing.work_path(operation)), **parts}
    answer = errand(job=job)
    return _conclude(answer, str(answer.pop("stderr", "")))


def _conclude(last: Mapping[str, Any], stderr: str) -> dict[str, Any]:
    if last.get("type") == "result":
        return {key: value for key, value in last.items() if key != "type"}
    if last.get("type") == "error":
        raise OperationFailed(
            last["message"], code=last["code"], remedy=last.get("remedy", ""), data=last.get("data") or {}
        )
    raise OperationFailed("The backup agent ended without a result.", code="agent_died", remedy=stderr[-500:])
