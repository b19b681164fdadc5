"""Template tags and filters: icons, badges, times, sizes, navigation."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django import template
from django.forms import BoundField
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from portal.operations.models import Operation, Step
from portal.operations.registry import kind_title
from portal.web import words
from portal.web.icons import ICONS

register = template.Library()

register.filter("size", words.size)
register.filter("duration", words.duration)
register.filter("count", words.count)
register.filter("milliseconds", words.milliseconds)
register.filter("percent", words.percent)
register.filter("kind_title", kind_title)
register.filter("plain_name", words.plain_name)
register.filter("look", words.look)
register.filter("tone", words.tone)
register.filter("fix_title", words.fix_title)

_MESSAGE_TONES = {"success": "good", "warning": "warn", "error": "bad"}


@dataclass(frozen=True, slots=True)
class NavLink:
    """An entry of the main navigation."""

    title: str
    icon: str
    href: str
    current: bool


class _Tab(NamedTuple):
    title: str
    icon: str
    url: str
    names: tuple[str, ...]
    operators: bool = False


_STACK_TABS = (
    _Tab("Services", "stack", "stack", ("stack",)),
    _Tab("Use", "operations", "use", ("use",)),
    _Tab("Events", "clock", "stack-events", ("stack-events",)),
    _Tab("Logs", "log", "logs", ("logs", "service-log"), operators=True),
    _Tab("Terminal", "terminal", "terminal", ("terminal", "terminal-open", "terminal-session"), operators=True),
    _Tab("Settings", "settings", "settings", ("settings",), operators=True),
    _Tab("Clean-up", "trash", "clean-up", ("clean-up",), operators=True),
    _Tab("All stacks", "stack", "stacks", ("stacks", "stack-add")),
)
# Of a further stack.
_FURTHER_TABS = (
    _Tab("Services", "stack", "stack", ("stack", "deploy")),
    _Tab("Project", "folder", "project", ("project",)),
    _Tab("Releases", "releases", "releases", ("releases", "release", "release-compare", "roll-back")),
    _Tab("Use", "operations", "use", ("use",)),
    _Tab("Events", "clock", "stack-events", ("stack-events",)),
    _Tab("Logs", "log", "logs", ("logs", "service-log"), operators=True),
    _Tab("Settings", "settings", "settings", ("settings",), operators=True),
    _Tab("All stacks", "stack", "stacks", ("stacks",)),
)

_NAVIGATION = (
    ("Overview", "overview", "dashboard", ("dashboard",)),
    ("Stack", "stack", "stack", ("deploy", *(name for tab in _STACK_TABS for name in tab.names))),
    ("Releases", "releases", "releases", ("releases", "release", "release-compare", "roll-back")),
    ("Backup sets", "sets", "sets", ("sets", "set", "set-browse", "set-restore", "set-preview")),
    ("Plans", "plans", "plans", ("plans", "plan", "plan-new", "plan-edit", "sources", "source-add")),
    (
        "Repositories",
        "disk",
        "repositories",
        ("repositories", "repository", "repository-add", "repository-edit", "upkeep"),
    ),
    ("Drills", "shield", "drills", ("drills", "question-add")),
    ("Operations", "operations", "operations", ("operations", "operation")),
    ("Alarms", "alarms", "alarms", ("alarms", "channel-add")),
    ("Doctor", "doctor", "doctor", ("doctor",)),
    ("Recovery", "lifebuoy", "recovery", ("recovery", "key-proof")),
    ("Help", "help", "help", ("help",)),
)


@register.simple_tag(takes_context=True)
def nav_links(context: Mapping[str, Any]) -> list[NavLink]:
    """The main navigation with the current page marked."""
    request: HttpRequest | None = context.get("request")
    match = request.resolver_match if request else None
    name = match.url_name if match else None
    if _further(context):
        name = "stack"
    return [NavLink(title, icon, reverse(url), name in names) for title, icon, url, names in _NAVIGATION]


@register.simple_tag(takes_context=True)
def stack_tabs(context: Mapping[str, Any]) -> list[NavLink]:
    """The pages of a stack, without those that are for administrators alone where somebody else looks."""
    request: HttpRequest = context["request"]
    match = request.resolver_match
    given = _further(context)
    tabs = _FURTHER_TABS if given else _STACK_TABS
    shown = [tab for tab in tabs if request.user.is_staff or not tab.operators]
    return [
        NavLink(tab.title, tab.icon, _address(given, tab.url), match is not None and match.url_name in tab.names)
        for tab in shown
    ]


@register.simple_tag(takes_context=True)
def page_url(context: Mapping[str, Any], name: str, **kwargs: object) -> str:
    """The address of a page of the stack whose page this is."""
    return reverse(name, kwargs={**kwargs, **_further(context)})


def _address(given: Mapping[str, str], name: str) -> str:
    return reverse(name, kwargs={} if name == "stacks" else dict(given))


def _further(context: Mapping[str, Any]) -> dict[str, str]:
    """What the address of this page says of the stack: nothing for the product's own."""
    request: HttpRequest | None = context.get("request")
    match = request.resolver_match if request else None
    return {"stack_name": match.kwargs["stack_name"]} if match and match.kwargs.get("stack_name") else {}


@register.simple_tag
def stylesheet(layer: str) -> str:
    """Address of one layer of the style sheet."""
    return static(f"web/css/{layer}.css")


@register.simple_tag
@functools.cache
def icon(name: str, tone: str = "") -> SafeString:
    """An icon as inline SVG, hidden from screen readers: a word always stands beside it."""
    spin = " icon--spin" if name == "busy" else ""
    shape = mark_safe(ICONS[name])  # noqa: S308 - drawn by us
    return format_html('<svg class="icon{}{}" viewBox="0 0 24 24" aria-hidden="true">{}</svg>', spin, _is(tone), shape)


_DAYS = {"complete": "tick", "partial": "mark", "failed": "cross", "removed": "dash"}


@register.simple_tag
def day_icon(state: str) -> SafeString:
    """The mark of a day in the calendar of sets; a day without a backup has none."""
    return icon(_DAYS[state]) if state in _DAYS else SafeString()


def _is(tone: str) -> str:
    return f" is-{tone}" if tone else ""


@register.inclusion_tag("web/base/badge.html")
def badge(state: str) -> dict[str, words.Look]:
    """A state as a pill: icon, word, colour."""
    return {"look": words.look(state)}


@register.simple_tag
def moment(at: datetime | str | float | None, style: str = "relative") -> SafeString:
    """A `<time>` that a script turns into the reader's zone and words; without it, UTC.

    Args:
        at: a datetime, an ISO string or seconds since 1970.
        style: relative ("3 minutes ago"), span ("for 3 minutes"), absolute, or clock (time of day with seconds).
    """
    if not at:
        return conditional_escape(words.UNKNOWN_VALUE)
    utc = _utc(at)
    plain = f"{utc:%H:%M:%S}" if style == "clock" else f"{utc:%-d %b %Y, %H:%M} UTC"
    return format_html(
        '<time datetime="{}" data-time="{}" title="{}">{}</time>',
        utc.isoformat(timespec="milliseconds"), style, f"{utc:%Y-%m-%d %H:%M:%S} UTC", plain,
    )  # fmt: skip


def _utc(at: datetime | str | float) -> datetime:
    if isinstance(at, str):
        at = datetime.fromisoformat(at)
    return datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else at.astimezone(UTC)


@register.simple_tag
def elapsed(started: datetime | None, finished: datetime | None) -> str:
    """How long something took; empty while it runs or when it never started."""
    return words.duration((finished - started).total_seconds()) if started and finished else ""


@register.simple_tag
def highlight(text: str, needle: str) -> SafeString:
    """`text` with every occurrence of `needle`, whatever its case, marked."""
    if not needle:
        return conditional_escape(text)
    parts: list[SafeString] = []
    lower, wanted, at = text.lower(), needle.lower(), 0
    while (found := lower.find(wanted, at)) >= 0:
        end = found + len(needle)
        parts.append(format_html("{}<mark>{}</mark>", text[at:found], text[found:end]))
        at = end
    parts.append(conditional_escape(text[at:]))
    return mark_safe("".join(parts))  # noqa: S308 - every part was escaped


@register.filter
def items(mapping: object) -> Iterable[tuple[str, Any]]:
    """Pairs of a mapping; nothing for anything else."""
    return mapping.items() if isinstance(mapping, Mapping) else ()


@register.filter
def of(mapping: object, key: str) -> object:
    """What a mapping has under a name, nothing when it has none."""
    return mapping.get(key) if isinstance(mapping, Mapping) else None


@register.filter("words")
def split_words(text: str) -> list[str]:
    return text.split()


@register.filter
def unlocal(value: float) -> str:
    """A number as HTML attributes want it, whatever the language."""
    return f"{value:.4f}"


@register.filter
def stage_title(operation: Operation) -> str:
    """What an operation is doing now, else its kind."""
    stage = operation.progress.get("stage")
    return words.plain_name(str(stage)).capitalize() if stage else kind_title(operation.kind)


@register.filter
def message_tone(level: str) -> str:
    return _MESSAGE_TONES.get(level, "busy")


@register.filter
def message_icon(level: str) -> str:
    return _MESSAGE_TONES.get(level, "help")


@register.filter
def step_look(step: Step, operation: Operation) -> words.Look:
    """A step that was never finished in an operation that has ended was interrupted, not running."""
    return words.look("interrupted" if step.state == "started" and operation.is_finished else step.state)


@register.filter
def notes(data: object) -> str:
    """What a step left behind, in one line; nested data stays in the log."""
    flat = ((k, v) for k, v in items(data) if k != "state" and isinstance(v, str | int | float) and v != "")
    return " · ".join(words.remark(k, v) for k, v in flat)


@register.filter
def ordered(counts: object) -> list[tuple[str, Any]]:
    """Counts with what operators look for first; the database keeps no order."""
    return sorted(items(counts), key=lambda pair: words.rank(pair[0]))


@register.filter
def codes(text: object) -> SafeString:
    """Text whose `quoted` commands are shown as code."""
    pieces = str(text).split("`")
    if len(pieces) % 2 == 0:  # a quote that never ends is no quote
        return conditional_escape(str(text))
    marked = (format_html("<code>{}</code>" if i % 2 else "{}", piece) for i, piece in enumerate(pieces))
    return mark_safe("".join(marked))  # noqa: S308 - every piece was escaped


@register.filter
def outcome(result: object) -> list[tuple[str, str]]:
    """Labelled values of an operation's result that fit on a line each."""
    return [
        (words.titled(k), words.measured(k, v))
        for k, v in ordered(result)
        if v not in (None, "", [], {}) and not isinstance(v, list) and k not in ("report", "plan")
    ]


@register.filter
def set_id(result: dict[str, Any]) -> str:
    """The backup set that an operation's result names, if any."""
    return str(result.get("set_id") or result.get("set") or "")


@register.filter
def control(field: BoundField) -> SafeString:
    """A form field's own control in the portal's style."""
    return field.as_widget(attrs={"class": "input"})


@register.filter
def diff_tone(line: str) -> str:
    """The class of a line of a unified diff: added, removed, or neither."""
    if line.startswith(("+++", "---", "@@")):
        return " quiet"
    return {"+": " log__line--added", "-": " log__line--removed"}.get(line[:1], "")
