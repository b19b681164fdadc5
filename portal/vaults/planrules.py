"""What a plan may say: every value that people give is read here, and refused with a sentence that names its field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath
from typing import Any, TypedDict
from urllib.parse import urlsplit

from django.utils import timezone

from backups.errors import JobInvalid
from backups.extra import OWN_SOURCES
from backups.fields import Fields
from backups.limits import Limits
from backups.sources.portal import NAME as PORTAL
from portal.operations.errors import InputInvalid
from portal.vaults.models import ExtraSource, HookOn, Plan, Repository
from portal.vaults.retention import COUNTS, KeepInvalidError, Policy
from portal.vaults.schedule import ScheduleInvalidError, next_run, shortest_pause, zone_of

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
# What stands for something else where a plan's name stands in an address.
RESERVED = ("add",)
LONGEST_JITTER = 86_400
LONGEST_HOOK = 86_400
MOST_HOOKS = 20
MOST_WORDS = 100


class HookFields(TypedDict, total=False):
    """A hook as it is given. `on`: before, success, failure or always; `command`: the program and its words."""

    on: str
    command: list[str]
    timeout_seconds: int


class PlanFields(TypedDict, total=False):
    """What one can say about a plan. `repository`: its name; `ping_url`: empty for none; `hooks`: all of them."""

    stack: str
    repository: str
    cron: str
    time_zone: str
    jitter_seconds: int
    sources: list[str]
    keep: dict[str, Any]
    shrink_percent: int
    check_cron: str
    drill: bool
    drill_cron: str
    limits: dict[str, Any]
    ping_url: str
    hooks: list[HookFields]


class Wrong(ValueError):  # noqa: N818 - says what it is; InputInvalid carries it out of here
    """One value that cannot be used; the sentence says why. `part`: of which part of the field it speaks."""

    def __init__(self, sentence: str, part: str = "") -> None:
        super().__init__(sentence)
        self.part = part


def plan_read(plan: Plan, values: PlanFields) -> Plan:
    """Set the given values on the row, which is not saved; `hooks` and `ping_url` are only looked at.

    Raises:
        InputInvalid: with a sentence for every field that is wrong; the row may be half changed then.
    """
    wrong: dict[str, str] = {}
    for name, read in READERS.items():
        if name in values:
            _tell(wrong, name, partial(read, plan, values[name]))  # type: ignore[literal-required]
    if not wrong:
        for name, check in TOGETHER.items():
            _tell(wrong, name, partial(check, plan))
    if wrong:
        raise InputInvalid(wrong)
    return plan


def name_read(name: str) -> str:
    """The name of a new plan.

    Raises:
        InputInvalid
    """
    if not SLUG.fullmatch(name):
        raise InputInvalid({"name": f"Use small letters, digits, - and _, at most 50 of them; got {name!r:.60}."})
    if name in RESERVED or Plan.objects.filter(name=name).exists():
        raise InputInvalid({"name": f"There is a plan {name!r} already."})
    return name


def source_names(stack: str) -> list[str]:
    """The sources that sets of a stack can have."""
    return [*OWN_SOURCES, PORTAL, *ExtraSource.objects.filter(stack=stack).values_list("name", flat=True)]


def until_read(until: datetime) -> datetime:
    """The end of a pause.

    Raises:
        InputInvalid
    """
    if until.tzinfo is None or until <= timezone.now():
        raise InputInvalid({"until": "The end of a pause must lie ahead; leave it out to pause without an end."})
    return until


def _tell(wrong: dict[str, str], name: str, read: Callable[[], None]) -> None:
    try:
        read()
    except KeepInvalidError as error:
        wrong[f"keep.{error.field}"] = _sentence(str(error))
    except Wrong as error:
        wrong[f"{name}.{error.part}" if error.part else name] = str(error)
    except ScheduleInvalidError as error:
        wrong[name] = str(error)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _stack(plan: Plan, value: str) -> None:
    if not SLUG.fullmatch(value):
        raise Wrong(f"Expected the name of a stack, got {value!r:.60}.")
    plan.stack = value


def _repository(plan: Plan, value: str) -> None:
    found = Repository.objects.filter(name=value).first()
    if found is None:
        known = ", ".join(Repository.objects.values_list("name", flat=True)) or "none yet"
        raise Wrong(f"There is no repository {value!r:.60}; known are: {known}.")
    if found.replaced_by is not None:
        raise Wrong(f"The repository {value} was replaced by {found.replaced_by.name}; choose that one.")
    plan.repository = found


def _cron(plan: Plan, value: str) -> None:
    plan.cron = _schedule(value)


def _check_cron(plan: Plan, value: str) -> None:
    plan.check_cron = _schedule(value) if value.strip() else ""


def _drill_cron(plan: Plan, value: str) -> None:
    plan.drill_cron = _schedule(value) if value.strip() else ""


def _schedule(value: str) -> str:
    text = " ".join(value.split())
    if len(text) > 100 or len(text.split()) != 5:
        raise Wrong(f"Expected five values, minute hour day month weekday, like 30 2 * * *; got {value!r:.60}.")
    next_run(text, "UTC", timezone.now())
    return text


def _time_zone(plan: Plan, value: str) -> None:
    plan.time_zone = zone_of(value.strip()).key[:60]


def _jitter(plan: Plan, value: int) -> None:
    plan.jitter_seconds = _whole(value, 0, LONGEST_JITTER)


def _sources(plan: Plan, value: list[str]) -> None:
    known = source_names(plan.stack)
    strange = [name for name in value if name not in known]
    if strange:
        raise Wrong(f"There is no source {strange[0]!r:.60}; the stack has {', '.join(known)}.")
    chosen = [name for name in known if name in value]
    plan.sources = [] if len(chosen) == len(known) else chosen


def _keep(plan: Plan, value: Mapping[str, Any]) -> None:
    plan.keep = Policy.read(value).as_dict()


def _shrink(plan: Plan, value: int) -> None:
    plan.shrink_percent = _whole(value, 1, 100)


def _drill(plan: Plan, value: bool) -> None:
    plan.drill = bool(value)


def _limits(plan: Plan, value: Mapping[str, Any]) -> None:
    try:
        plan.limits = Limits.read(Fields(value, "limits")).as_dict()
    except JobInvalid as error:
        path, _, told = error.message.partition(": ")
        raise Wrong(_sentence(told), path.removeprefix("limits.")) from None


def _ping_url(_plan: Plan, value: str) -> None:
    try:
        found = urlsplit(value.strip())
        usable = not value.strip() or (found.scheme in ("http", "https") and bool(found.hostname))
    except ValueError:
        usable = False
    if not usable or len(value) > 2000 or any(sign.isspace() for sign in value.strip()):
        raise Wrong("Expected an address that begins with https:// or http://, or nothing.")


def _hooks(_plan: Plan, value: list[HookFields]) -> None:
    if len(value) > MOST_HOOKS:
        raise Wrong(f"A plan has at most {MOST_HOOKS} hooks, got {len(value)}.")
    for number, hook in enumerate(value, 1):
        _hook(hook, f"Hook {number}")


def _hook(hook: HookFields, which: str) -> None:
    if hook.get("on") not in HookOn.values:
        raise Wrong(f"{which}: expected one of {', '.join(HookOn.values)}, got {hook.get('on')!r:.60}.")
    command = hook.get("command") or []
    if not command or len(command) > MOST_WORDS or not all(isinstance(w, str) and "\0" not in w for w in command):
        raise Wrong(f"{which}: expected a program and its words, at most {MOST_WORDS}.")
    if not PurePosixPath(command[0]).is_absolute():
        raise Wrong(f"{which}: name the program with its full path, like /usr/bin/true; got {command[0]!r:.60}.")
    try:
        _whole(hook.get("timeout_seconds", 300), 1, LONGEST_HOOK)
    except Wrong as error:
        raise Wrong(f"{which}: seconds: {error}") from None


def _whole(value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Wrong(f"Expected a whole number from {least} to {most}, got {value!r:.40}.")
    return value


READERS: dict[str, Callable[[Plan, Any], None]] = {
    "stack": _stack,
    "repository": _repository,
    "cron": _cron,
    "time_zone": _time_zone,
    "jitter_seconds": _jitter,
    "sources": _sources,
    "keep": _keep,
    "shrink_percent": _shrink,
    "check_cron": _check_cron,
    "drill": _drill,
    "drill_cron": _drill_cron,
    "limits": _limits,
    "ping_url": _ping_url,
    "hooks": _hooks,
}


def _jitter_fits(plan: Plan) -> None:
    """A run that may be later than the next one is due would push that out."""
    pause = shortest_pause(plan.cron, plan.time_zone, timezone.now())
    if pause is not None and plan.jitter_seconds >= pause.total_seconds():
        raise Wrong(
            f"Runs are {pause.total_seconds():.0f} s apart at the closest; they must start less late than that."
        )


def _keep_fits(plan: Plan) -> None:
    if plan.repository.append_only and any(name in plan.keep for name in COUNTS):
        raise Wrong(
            f"The repository {plan.repository.name} only takes additions: whoever adds forged sets could count "
            "others out. Only `within` is safe there."
        )


TOGETHER: dict[str, Callable[[Plan], None]] = {"jitter_seconds": _jitter_fits, "keep": _keep_fits}
