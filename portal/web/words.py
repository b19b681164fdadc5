"""How states, sizes and times read to an operator; pure functions without a database."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is shown: never by colour alone, always with an icon and a word."""

    tone: str
    icon: str
    word: str


UNKNOWN = Look("idle", "idle", "Unknown")

LOOKS: dict[str, Look] = {
    "healthy": Look("good", "good", "Healthy"),
    "starting": Look("busy", "busy", "Starting"),
    "unhealthy": Look("warn", "warn", "Unhealthy"),
    "stopped": Look("idle", "stop", "Stopped"),
    "queued": Look("busy", "clock", "Queued"),
    "running": Look("busy", "busy", "Running"),
    "succeeded": Look("good", "good", "Succeeded"),
    "partial": Look("warn", "warn", "Partial"),
    "failed": Look("bad", "bad", "Failed"),
    "lost": Look("bad", "bad", "Lost"),
    "cancelling": Look("busy", "busy", "Cancelling"),
    "cancelled": Look("idle", "idle", "Cancelled"),
    "complete": Look("good", "good", "Complete"),
    "passed": Look("good", "good", "Passed"),
    "kept": Look("warn", "undo", "Can be undone"),
    "confirmed": Look("good", "good", "Kept"),
    "undone": Look("idle", "undo", "Undone"),
    "started": Look("busy", "busy", "Running"),
    "done": Look("good", "good", "Done"),
    "ready": Look("good", "good", "Ready"),
    "unseen": Look("idle", "idle", "Not looked at"),
    "missing": Look("bad", "bad", "Not there"),
    "replaced": Look("idle", "idle", "Replaced"),
    "damaged": Look("bad", "bad", "Damaged"),
    "sound": Look("good", "good", "Sound"),
    "interrupted": Look("warn", "warn", "Interrupted"),
    "on": Look("good", "good", "On"),
    "off": Look("idle", "idle", "Off"),
    "agreed": Look("good", "good", "Agreed"),
    "unagreed": Look("warn", "warn", "Not agreed"),
    "paused": Look("warn", "pause", "Paused"),
    "serving": Look("good", "good", "Serves"),
    "former": Look("idle", "clock", "Kept"),
    "candidate": Look("busy", "busy", "On its way"),
    "newer image": Look("busy", "download", "Newer image"),
    "newer version": Look("busy", "arrow", "Newer version"),
    "current": Look("good", "good", "Current"),
    "local": Look("idle", "disk", "Made here"),
    "create": Look("good", "start", "Created"),
    "start": Look("good", "start", "Started"),
    "recreate": Look("warn", "restart", "Replaced"),
    "remove": Look("bad", "trash", "Removed"),
    "stays": Look("good", "tick", "Stays"),
    "goes": Look("bad", "trash", "Goes"),
    "found ok": Look("good", "good", "Well"),
    "found warning": Look("warn", "warn", "See to it"),
    "found error": Look("bad", "bad", "To mend"),
    "event started": Look("good", "start", "Started"),
    "event stopped": Look("idle", "stop", "Stopped"),
    "event restarted": Look("busy", "restart", "Restarted"),
    "event crashed": Look("bad", "bad", "Ended by itself"),
    "event out_of_memory": Look("bad", "bad", "Out of memory"),
    "event unhealthy": Look("warn", "warn", "Unhealthy"),
    "event gave_up": Look("bad", "bad", "Gave up"),
    "event recovered": Look("good", "good", "Recovered"),
}

UNKNOWN_VALUE = "\u2013"
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def look(state: str) -> Look:
    """Tone (good, busy, warn, bad, idle), icon and word of a state; a new state shows as its own name."""
    return LOOKS.get(state) or Look(UNKNOWN.tone, UNKNOWN.icon, plain_name(state).capitalize() or UNKNOWN.word)


_FIXES = {"secrets": "Close them", "leftovers": "Stop them", "clean-up": "Tidy up", "start": "Start it"}


def fix_title(fix: str) -> str:
    """What the button says that puts a finding right."""
    return _FIXES.get(fix.partition(":")[0], "Put it right")


def tone(severity: str) -> str:
    """The tone of an alarm."""
    return "bad" if severity == "bad" else "warn"


def plain_name(name: str) -> str:
    """`documents ready` for `documents_ready`."""
    return name.replace("_", " ").replace(".", " ").strip()


def size(count: int | float | None) -> str:
    """Bytes in binary units with at most one decimal: `3.4 MiB`; a dash when unknown."""
    if count is None:
        return UNKNOWN_VALUE
    value = float(count)
    for unit in _BYTE_UNITS:
        if abs(value) < 1024 or unit == _BYTE_UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """Seconds in words an operator reads at a glance: `52 ms`, `8 s`, `3 min 20 s`, `2 h 5 min`, `4 d`."""
    if seconds is None:
        return UNKNOWN_VALUE
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return _two(round(seconds))


def _two(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d"


def count(value: object) -> str:
    """A number with thousands separators; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def percent(fraction: float) -> str:
    """A fraction of 1 as whole percent; 100 only when it is done."""
    return f"{min(max(int(fraction * 100), 0), 100)} %"


def milliseconds(value: float | None) -> str:
    """`52 ms`, `1.4 s`; a dash when unknown."""
    return duration(None if value is None else value / 1000)


def titled(name: str) -> str:
    """The label of a value in an operation's result: `Freeze` for `freeze_ms`."""
    for suffix in ("_ms", "_bytes", "_seconds"):
        name = name.removesuffix(suffix)
    return plain_name(name).capitalize()


def measured(name: str, value: object) -> str:
    """A value with the unit that its name tells: freeze_ms, seconds, bytes_added, counts."""
    if isinstance(value, dict):
        return ", ".join(f"{count(v)} {plain_name(k)}" for k, v in value.items() if not isinstance(v, dict | list))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _unit(name, value)
    return str(value)


def _unit(name: str, value: float) -> str:
    if name.endswith("_ms"):
        return milliseconds(value)
    if name == "seconds" or name.endswith("_seconds"):
        return duration(value)
    return size(value) if "bytes" in name.split("_") else count(value)


def remark(name: str, value: str | int | float) -> str:
    """A value in running text: `400 files`, `47.7 MiB`, `freeze 52 ms`, `model smollm2`."""
    text = measured(name, value)
    if isinstance(value, str | bool) or name.endswith("_ms"):
        return f"{titled(name).lower()} {text}"
    return text if name in ("bytes", "seconds") else f"{text} {titled(name).lower()}"


_FIRST = ("documents", "documents_ready", "chunks", "conversations", "users")


def rank(name: str) -> tuple[int, str]:
    """Where a count stands: what operators look for first, then by name."""
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)
