"""The form of a plan: reads what people typed into the values that a plan takes, and shows those of one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings

from portal.stacks.models import Stack
from portal.vaults.models import HookOn, Plan, Repository
from portal.vaults.planrules import HookFields, PlanFields, source_names
from portal.vaults.plans import plan_hooks
from portal.vaults.retention import COUNTS

EMPTY_HOOKS = 2
LIMITS = ("upload_kib", "download_kib", "nice", "processors")
_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
_WHEN = {
    HookOn.BEFORE: "Before the backup",
    HookOn.SUCCESS: "After a success",
    HookOn.FAILURE: "After a failure",
    HookOn.ALWAYS: "After it, always",
}


def _number(label: str, help_text: str = "", **more: Any) -> forms.IntegerField:  # noqa: ANN401 - arguments of a field
    return forms.IntegerField(label=label, help_text=help_text, required=False, min_value=0, **more)


def _text(label: str, help_text: str = "", *, length: int = 100, required: bool = False) -> forms.CharField:
    return forms.CharField(
        label=label, help_text=help_text, max_length=length, required=required, widget=forms.TextInput(attrs=_PLAIN)
    )


class PlanForm(forms.Form):
    """What one can say about a plan; `values()` is what a service takes."""

    name = _text("Name", "Small letters, digits, - and _. It stays.", length=50, required=True)
    stack = forms.ChoiceField(label="Stack")
    repository = forms.ChoiceField(label="Repository")
    sources = forms.MultipleChoiceField(label="Sources", required=False, widget=forms.CheckboxSelectMultiple)
    cron = _text("Schedule", "Minute, hour, day, month, weekday: 30 2 * * * is every night at 02:30.", required=True)
    time_zone = _text("Time zone", "Like Europe/Berlin. Daylight saving is taken care of.", length=60, required=True)
    jitter_seconds = _number("Starts late by up to, seconds", "So that many plans do not start together.")
    keep_last = _number("Last")
    keep_hourly = _number("Hourly")
    keep_daily = _number("Daily")
    keep_weekly = _number("Weekly")
    keep_monthly = _number("Monthly")
    keep_yearly = _number("Yearly")
    keep_within = _text("All within", "A span like 30d, 1y6m or 36h, back from the newest set.", length=30)
    shrink_percent = _number(
        "Suspicious when a source shrinks by more than, %",
        "Then an alarm is raised and nothing is removed.",
        initial=30,
    )
    drill = forms.BooleanField(label="Prove sets by drills", required=False, initial=True)
    drill_cron = _text("Drill on a schedule", "Empty: the first complete set of each day is drilled.")
    check_cron = _text("Read the repository back on a schedule", "Each run reads the next slice. Empty: never.")
    upload_kib = _number("Upload, KiB/s", "0: no limit.")
    download_kib = _number("Download, KiB/s", "0: no limit.")
    nice = _number("Niceness", "0 to 19: how far it stands back for a processor.")
    processors = _number("Processors", "How many restic uses at once. 0: all.")
    io_idle = forms.BooleanField(label="Use disks only while nobody else does", required=False)
    ping_url = forms.CharField(
        label="Address of a dead man's switch",
        help_text="It is told of start, success and failure. Kept in a file and not shown again.",
        required=False,
        max_length=2000,
        widget=forms.PasswordInput(attrs=_PLAIN, render_value=True),
    )
    ping_remove = forms.BooleanField(label="Forget the address that is kept", required=False)

    def __init__(self, data: Any = None, *, plan: Plan | None = None) -> None:  # noqa: ANN401 - a QueryDict
        super().__init__(data, initial=_initial(plan))
        self._plan = plan
        stacks = list(Stack.objects.order_by("created_at").values_list("name", flat=True))
        sources = source_names(plan.stack if plan else (stacks[0] if stacks else ""))
        self._offer("stack", dict.fromkeys([*stacks, *([plan.stack] if plan else [])]))
        self._offer("repository", Repository.objects.filter(replaced_by=None).values_list("name", flat=True))
        self._offer("sources", sources)
        if plan:
            del self.fields["name"]
        else:
            self.fields["sources"].initial = sources
            self.fields["time_zone"].initial = settings.LOCAL_TIME_ZONE
        count = len(self.initial.get("hooks", [])) + EMPTY_HOOKS
        self._hooks = max(count, int(data["hook_rows"]) if data and str(data.get("hook_rows")).isdigit() else 0)
        for number in range(min(self._hooks, 24)):
            self._add_hook(number)

    @property
    def hook_rows(self) -> int:
        """How many rows of hooks the page has; the form gets it back."""
        return min(self._hooks, 24)

    def keep_fields(self) -> list[Any]:
        """The counts of generations."""
        return [self[f"keep_{name}"] for name in COUNTS]

    def hook_fields(self) -> Iterator[tuple[Any, Any, Any]]:
        """The three fields of each hook: when, command, seconds."""
        for n in range(self.hook_rows):
            yield self[f"hook_on_{n}"], self[f"hook_command_{n}"], self[f"hook_seconds_{n}"]

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if not found.get("sources") and not self.has_error("sources"):
            self.add_error("sources", "Choose at least one.")
        for n in range(self.hook_rows):
            try:
                found[f"hook_words_{n}"] = shlex.split(found.get(f"hook_command_{n}") or "")
            except ValueError:
                self.add_error(f"hook_command_{n}", "A quotation mark is never closed.")
        return found

    def values(self) -> PlanFields:
        """What was given, for plan_add and plan_update; call it on a valid form."""
        given = self.cleaned_data
        told: PlanFields = {
            "stack": given["stack"],
            "repository": given["repository"],
            "cron": given["cron"],
            "time_zone": given["time_zone"],
            "jitter_seconds": given["jitter_seconds"] or 0,
            "sources": given["sources"],
            "keep": {name: given[f"keep_{name}"] for name in (*COUNTS, "within") if given[f"keep_{name}"]},
            "shrink_percent": given["shrink_percent"] or 0,
            "check_cron": given["check_cron"],
            "drill": given["drill"],
            "drill_cron": given["drill_cron"],
            "limits": {**{name: given[name] or 0 for name in LIMITS}, "io_idle": given["io_idle"]},
            "hooks": list(self._hooks_given()),
        }
        if given["ping_url"] or given["ping_remove"]:
            told["ping_url"] = given["ping_url"]
        return told

    def blame(self, fields: dict[str, str]) -> None:
        """Put what a service refused beside the fields it is about."""
        for name, sentence in fields.items():
            self.add_error(self._field_of(name), sentence)

    def _field_of(self, name: str) -> str | None:
        whole = name.replace(".", "_")
        return next((known for known in (whole, whole.removeprefix("limits_")) if known in self.fields), None)

    def _hooks_given(self) -> Iterator[HookFields]:
        for n in range(self.hook_rows):
            words = self.cleaned_data.get(f"hook_words_{n}")
            if words:
                seconds = self.cleaned_data.get(f"hook_seconds_{n}")
                yield {"on": self.cleaned_data[f"hook_on_{n}"], "command": words, "timeout_seconds": seconds or 300}

    def _offer(self, name: str, values: Any) -> None:  # noqa: ANN401 - any iterable of texts
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(value, value) for value in values]

    def _add_hook(self, number: int) -> None:
        kept: list[HookFields] = self.initial.get("hooks", [])
        hook = kept[number] if number < len(kept) else HookFields(on=HookOn.BEFORE, command=[], timeout_seconds=300)
        on = forms.ChoiceField(label="When", choices=list(_WHEN.items()), required=False, initial=hook["on"])
        command = _text("Program and its words", length=4000)
        command.initial = shlex.join(hook["command"])
        seconds = _number("Seconds")
        seconds.initial = hook["timeout_seconds"]
        self.fields |= {
            f"hook_on_{number}": on,
            f"hook_command_{number}": command,
            f"hook_seconds_{number}": seconds,
        }


class PauseForm(forms.Form):
    """Until when a plan rests; empty is without an end."""

    until = forms.DateTimeField(
        label="Until", required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )


def _initial(plan: Plan | None) -> dict[str, Any]:
    if plan is None:
        return {}
    plain = ("stack", "cron", "time_zone", "jitter_seconds", "shrink_percent", "check_cron", "drill", "drill_cron")
    return {
        **{name: getattr(plan, name) for name in plain},
        **{f"keep_{name}": value for name, value in plan.keep.items()},
        **plan.limits,
        "repository": plan.repository.name,
        "sources": plan.sources or source_names(plan.stack),
        "hooks": plan_hooks(plan),
        "has_ping": bool(plan.ping_url_file) and Path(plan.ping_url_file).exists(),
    }
