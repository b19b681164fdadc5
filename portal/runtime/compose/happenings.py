"""What happened to containers by themselves, from the engine's events. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from portal.runtime.compose.containers import ONE_OFF, SERVICE
from portal.runtime.protocol import Happened, Happening

KINDS = ("die", "kill", "oom")
# A container that was told to end does so within its grace; Compose's longest here is a minute.
GRACE_SECONDS = 90.0
NANOSECONDS = 1_000_000_000
SIGKILL_STATUS = "137"


def happenings(events: Sequence[Mapping[str, Any]], *, since: float) -> tuple[Happening, ...]:
    """Containers that ended without being told to, and those that ran out of memory, since then (a Unix time).

    Args:
        events: of the kinds above, those before `since` by GRACE_SECONDS included, in the order of time.
    """
    told: dict[str, float] = {}
    found = list[Happening]()
    for event in events:
        at, container = _moment(event), str(event["Actor"]["ID"])
        marks: Mapping[str, str] = event["Actor"].get("Attributes") or {}
        if event["Action"] == "kill":
            told[container] = at
        elif marks.get(ONE_OFF) == "True" or at <= since:
            continue
        elif event["Action"] == "oom":
            found.append(Happening(marks.get(SERVICE, ""), at, Happened.OUT_OF_MEMORY, "used more than its limit"))
        elif at - told.get(container, -GRACE_SECONDS) >= GRACE_SECONDS:
            found.append(Happening(marks.get(SERVICE, ""), at, Happened.ENDED, _how(marks.get("exitCode", ""))))
    return tuple(item for item in found if item.service)


def _moment(event: Mapping[str, Any]) -> float:
    return int(event["timeNano"]) / NANOSECONDS


def _how(status: str) -> str:
    return "terminated by SIGKILL" if status == SIGKILL_STATUS else f"exit status {status}"
