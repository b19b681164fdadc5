"""`manage.py plans`: what is backed up, when, where to, and how long it is kept."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from config.cli.confirming import demand_typed
from config.cli.given import file_option, text_of
from config.cli.listing import listing_group
from config.cli.operations import EXIT_PARTIAL, connect, default_stack, run_started
from config.cli.output import Output, UserError, json_option, megabytes, speaking

if TYPE_CHECKING:
    from portal.vaults.models import Plan
    from portal.vaults.planrules import PlanFields

NONE = "none"

OPTIONS = (
    click.option("--stack", help="Stack to back up."),
    click.option("--repository", help="Repository to back up to."),
    click.option("--cron", help="When: minute, hour, day, month, weekday."),
    click.option("--time-zone", metavar="ZONE", help="Whose clock that is, like Europe/Berlin."),
    click.option("--jitter", "jitter_seconds", type=int, metavar="SECONDS", help="Start up to so much late."),
    click.option("--source", "sources", multiple=True, metavar="NAME", help="Only this source; `all` for every one."),
    click.option("--keep", multiple=True, metavar="RULE=N", help="last, hourly ... yearly=N, within=30d; `none`: all."),
    click.option("--shrink-percent", type=int, metavar="N", help="A source that shrinks by more is suspicious."),
    click.option("--check-cron", metavar="CRON", help="When a slice of the repository is read back; empty: never."),
    click.option("--drill/--no-drill", default=None, help="Whether sets are proven by drills."),
    click.option("--drill-cron", metavar="CRON", help="When; empty: the first complete set of a day."),
    click.option("--limit", "limits", multiple=True, metavar="NAME=N", help="upload_kib, nice, ...; `none`."),
    click.option("--hook", "hooks", nargs=2, multiple=True, metavar="WHEN COMMAND", help="A program around it."),
    click.option("--hook-seconds", type=int, metavar="N", help="How long each of these hooks may take.", default=300),
    click.option("--no-hooks", is_flag=True, help="Take all hooks away."),
    click.option("--ping-file", type=file_option, metavar="FILE", help="File with a dead man's switch's address."),
    click.option("--no-ping", is_flag=True, help="Forget the address of the dead man's switch."),
)  # fmt: skip


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


@listing_group("plans", "What is backed up, when, where to, and how long it is kept; alone, list the plans.")
def command(output: Output) -> None:
    """List the plans: when each runs next, how its last run went, what it keeps."""
    connect()
    from portal.vaults.models import Plan
    from portal.vaults.planview import plan_summary

    plans = Plan.objects.select_related("repository", "last_operation").order_by("pk")
    found = [plan_summary(plan) for plan in plans]
    output.result({"plans": found}, "\n".join(map(_row, found)) or "no plan yet: nothing is backed up by itself")


@command.command("show")
@click.argument("name")
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Everything about the plan NAME, with its next runs."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.planview import plan_summary

        told = plan_summary(plan_named(name))
        lines = [f"{key.replace('_', ' '):<16} {_plain(value)}" for key, value in told.items()]
        output.result(told, "\n".join(lines))


@command.command("add")
@click.argument("name")
@_options
@json_option
def add_command(name: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options, read in _values
    """Add the plan NAME. It backs up every source of the stack every night, unless told otherwise."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.plans import plan_add
        from portal.vaults.planview import plan_summary
        from portal.vaults.selectors import repository_get_default

        values = _values(given)
        values.setdefault("stack", default_stack().name)
        values.setdefault("repository", repository_get_default().name)
        told = plan_summary(plan_add(name=name, **values))
        output.result(told, f"{name} is added: {told['when']}, next run {told['next_run_at']}")


@command.command("set")
@click.argument("name")
@_options
@json_option
def set_command(name: str, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - click's options, read in _values
    """Change what is given of the plan NAME. Lists such as --keep are replaced as a whole."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.plans import plan_update
        from portal.vaults.planview import plan_summary

        told = plan_summary(plan_update(plan=plan_named(name), **_values(given)))
        output.result(told, f"{name} is changed: {told['when']}, keeps {told['keeps']}")


@command.command("pause")
@click.argument("name")
@click.option("--until", metavar="TIME", help="End of the pause on the plan's clock, like 2026-12-24T18:00.")
@json_option
def pause_command(name: str, until: str | None, as_json: bool) -> None:
    """Start nothing of the plan NAME until then, or until it is resumed. What is missed is not made up."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.plans import plan_pause

        plan = plan_named(name)
        end = _moment(until, plan.time_zone) if until else None
        plan_pause(plan=plan, until=end)
        text = f"{name} rests until {end.isoformat()}" if end else f"{name} rests until it is resumed"
        output.result({"name": name, "until": end.isoformat() if end else None}, text)


@command.command("resume")
@click.argument("name")
@json_option
def resume_command(name: str, as_json: bool) -> None:
    """End the pause of the plan NAME."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.plans import plan_resume

        plan = plan_resume(plan=plan_named(name))
        output.result({"name": name, "next_run_at": plan.next_run_at}, f"{name} runs next at {plan.next_run_at}")


@command.command("run")
@click.argument("name")
@json_option
def run_command(name: str, as_json: bool) -> None:
    """Take the backup of the plan NAME now and wait for it. Exit status 3 when something is missing from the set."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.plans import plan_run_now

        operation = run_started(output, lambda: plan_run_now(plan=plan_named(name)))
        made = operation.result
        text = f"set {made['set_id']} is {made['state']}: {megabytes(made['bytes_total'])} in all"
        told = [f"\n  hook {hook['program']}: {hook['error']}" for hook in made.get("hooks", []) if hook["error"]]
        output.result({**made, "operation": str(operation.pk)}, text + "".join(told))
    sys.exit(0 if made["state"] == "complete" else EXIT_PARTIAL)


@command.command("preview")
@click.argument("name")
@click.option("--keep", multiple=True, metavar="RULE=N", help="As if this was kept; `none`: all.")
@json_option
def preview_command(name: str, keep: tuple[str, ...], as_json: bool) -> None:
    """Which sets the retention of the plan NAME would remove now, and why the others stay. Changes nothing."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.keeping import retention_preview
        from portal.vaults.planrules import plan_read

        plan = plan_named(name)
        found = retention_preview(plan_read(copy(plan), {"keep": _pairs(keep)}) if keep else plan)
        sets: list[dict[str, Any]] = [
            {
                "set_id": row.set.pk,
                "taken_at": row.set.taken_at.isoformat(),
                "state": row.set.state,
                "kept": row.kept,
                "reasons": row.reasons,
            }
            for row in found.rows
        ]
        lines = [f"{s['set_id']}  {'stays' if s['kept'] else 'goes '}  {', '.join(s['reasons'])}" for s in sets]
        waits = [f"it waits: {found.waits}"] if found.waits else []
        counts = {"kept": found.kept_count, "removed": len(found.removed)}
        output.result({"name": name, "waits": found.waits, **counts, "sets": sets}, "\n".join([*lines, *waits]))


@command.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def remove_command(name: str, yes: bool, as_json: bool) -> None:
    """Remove the plan NAME. Its sets stay."""
    with speaking(as_json=as_json) as output:
        connect()
        from portal.vaults.plans import plan_remove

        plan = plan_named(name)
        if not yes:
            demand_typed(output, name, f"Type {name} to remove the plan")
        plan_remove(plan=plan)
        output.result({"name": name}, f"{name} is removed; its sets stay")


def plan_named(name: str) -> Plan:
    """The plan called `name`.

    Raises:
        UserError: there is none.
    """
    from portal.vaults.models import Plan

    found = Plan.objects.select_related("repository", "last_operation").filter(name=name).first()
    if found is None:
        raise UserError(f"there is no plan {name!r}", "manage.py plans lists them", "no_plan")
    return found


def _row(told: dict[str, Any]) -> str:
    following = told["next_runs"][0] if told["state"] == "active" and told["next_runs"] else told["state"]
    return f"{told['name']:<20} {following:<28} last {told['last_state'] or 'never':<10} keeps {told['keeps']}"


def _values(given: dict[str, Any]) -> PlanFields:
    """The options that were given, as the services take them."""
    plain = ("stack", "repository", "cron", "time_zone", "jitter_seconds", "shrink_percent", "check_cron", "drill")
    told: Any = {name: given[name] for name in (*plain, "drill_cron") if given[name] is not None}
    if given["sources"]:
        told["sources"] = [] if given["sources"] == ("all",) else list(given["sources"])
    for name in ("keep", "limits"):
        if given[name]:
            told[name] = _pairs(given[name])
    if given["hooks"] or given["no_hooks"]:
        told["hooks"] = (
            [] if given["no_hooks"] else [_hook(when, words, given["hook_seconds"]) for when, words in given["hooks"]]
        )
    if given["ping_file"] or given["no_ping"]:
        told["ping_url"] = "" if given["no_ping"] else text_of(given["ping_file"]).strip()
    fields: PlanFields = told
    return fields


def _pairs(given: tuple[str, ...]) -> dict[str, Any]:
    """`("daily=7", "within=30d")` as a mapping; `none` is an empty one."""
    if given == (NONE,):
        return {}
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"{pair!r} is no NAME=VALUE", "write it like daily=7", "usage")
        truth = {"true": True, "false": False}.get(value, value)
        found[name] = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else truth
    return found


def _hook(on: str, words: str, seconds: int) -> dict[str, Any]:
    try:
        return {"on": on, "command": shlex.split(words), "timeout_seconds": seconds}
    except ValueError:
        raise UserError(f"a quotation mark of {words!r} is never closed", "", "usage") from None


def _moment(text: str, zone: str) -> datetime:
    from portal.vaults.schedule import zone_of

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text!r} is no time", "write it like 2026-12-24T18:00", "usage") from None
    return found if found.tzinfo else found.replace(tzinfo=zone_of(zone))


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={inner}" for name, inner in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(_plain(inner) for inner in value) or "-"
    return "-" if value in (None, "") else str(value)
