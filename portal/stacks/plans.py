"""What a deploy would do, as pages and `--json` show it: services with action and reason, never a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.core import places
from portal.runtime.protocol import Action, Plan, Rendered
from portal.runtime.spec import StackSpec
from portal.stacks import preflight, sealing, touching
from portal.stacks.models import Release, Stack
from portal.stacks.projects.reading import consent_problems, need_rows
from portal.stacks.releases import image_rows, images_of, release_current, settings_of


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """The lines of a plan."""
    return [
        {
            "service": change.service,
            "action": str(change.action),
            "reason": change.reason,
            "causes": list(change.causes),
        }
        for change in plan.changes
    ]


def plan_report(stack: Stack, spec: StackSpec, rendered: Rendered) -> dict[str, Any]:
    """Everything an operator should know before the click.

    Returns:
        `changes`; `settings` and `files`, each name with changed, added or removed; `touches`, why data is touched;
        `interrupted`, the services that stand still for a moment; `needs`, what takes an administrator; `problems`,
        what would keep it from succeeding, with path and remedy; `nothing`, true when all runs so.

    Raises:
        StackRuntimeError: the runtime does not answer, or the stack's files are not what can be run.
    """
    plan, current = places.runtime().plan(spec, release=rendered), release_current(stack)
    environment = compared(current.environment if current else {}, sealing.digests(settings_of(spec)))
    touches = touching.reasons(spec, plan, images_of(current), image_rows(rendered), list(environment))
    found = [*places.runtime().validate(spec), *preflight.problems(spec, plan, rendered)]
    found += consent_problems(stack.name)
    return {
        "stack": stack.name,
        "release": current.number if current else None,
        "nothing": plan.is_empty and not (environment and current),
        "changes": plan_rows(plan),
        "settings": environment if current else {},
        "files": _files(current, rendered),
        "touches": touches if current else [],
        "backup": bool(touches and current),
        "problems": [{"path": one.path, "message": one.message, "remedy": one.remedy} for one in found],
        "interrupted": _interrupted(spec, plan),
        "needs": need_rows(stack),
    }


def _interrupted(spec: StackSpec, plan: Plan) -> list[str]:
    """The services that do not answer for a moment while they are replaced."""
    beside = preflight.start_first(spec) if places.runtime().features.replicas else []
    replaced = [change.service for change in plan.changes if change.action is Action.RECREATE]
    return [name for name in replaced if name not in beside]


def _files(current: Release | None, rendered: Rendered) -> dict[str, dict[str, str]]:
    """What services mount and what of it changed; services where nothing did are left out."""
    before = current.contents if current else {}
    found = {name: compared(before.get(name, {}), files) for name, files in rendered.contents.items() if name in before}
    return {name: files for name, files in found.items() if files}


def compared(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """`added`, `removed` or `changed` for each name whose digests differ."""
    found: dict[str, str] = {}
    for name in sorted({*before, *after}):
        if name not in before:
            found[name] = "added"
        elif name not in after:
            found[name] = "removed"
        elif before[name] != after[name]:
            found[name] = "changed"
    return found
