"""The services: their condition, what they died of, and which of the classics their logs show."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from portal.doctor.findings import ERROR, WARNING, Finding, Subject
from portal.doctor.symptoms import REMEDIES, Classic, symptoms
from portal.runtime.errors import StackRuntimeError
from portal.runtime.paths import CONTROL
from portal.runtime.protocol import Happened, Happening, ServiceStatus, State
from portal.runtime.spec import StackSpec

LOG_LINES = 60
LATELY_SECONDS = 24 * 3600.0


def check_services(subject: Subject) -> Iterator[Finding]:
    """Services that are not well, and those that ended by themselves in the last day."""
    for group in subject.groups:
        try:
            statuses = subject.runtime.status(group)
            happened = _happened(subject, group)
        except StackRuntimeError as fault:
            yield Finding("runtime", ERROR, fault.message, fault.remedy or "manage.py up starts it")
            continue
        if all(status.state is State.STOPPED for status in statuses):
            continue
        for status in statuses:
            yield from _condition(group, status)
            yield from _ends(group, status, [item for item in happened if item.service == status.service])
            yield from _classics(subject, group, status, [item for item in happened if item.service == status.service])


def _happened(subject: Subject, group: StackSpec) -> list[Happening]:
    """What was written down, and what the runtime remembers besides."""
    recorded = list(subject.recorded.get(group.project, ()))
    known = {(item.service, round(item.at)) for item in recorded}
    told = subject.runtime.happenings(group, since=time.time() - LATELY_SECONDS)
    # The end of one that ran out of memory was written down as that alone.
    short = {(item.service, round(item.at) + late) for item in recorded for late in (-1, 0, 1) if _is_short(item)}
    return [*recorded, *(item for item in told if (item.service, round(item.at)) not in known | short)]


def _is_short(item: Happening) -> bool:
    return item.what is Happened.OUT_OF_MEMORY


def _condition(group: StackSpec, status: ServiceStatus) -> Iterator[Finding]:
    if status.state in (State.UNHEALTHY, State.FAILED):
        named = f"{group.project}/{status.service}"
        text = f"{named} is {status.state}: {status.detail}".rstrip(": ")
        # The control plane cannot be started from a page of its own.
        fix = "" if group.project == CONTROL else f"start:{named}"
        again = "manage.py up" if group.foreign is None else f"manage.py stacks start {group.project}"
        yield Finding("service", ERROR, text, f"{_read_log(group, named)}; {again} starts it again", fix)


def _read_log(group: StackSpec, named: str) -> str:
    return f"read manage.py logs {named}" if group.foreign is None else "read its log on the page of its stack"


def _ends(group: StackSpec, status: ServiceStatus, happened: list[Happening]) -> Iterator[Finding]:
    named = f"{group.project}/{status.service}"
    short = [item for item in happened if _is_short(item)]
    if short:
        text = f"{named} ran out of memory and was killed, {_times(len(short))} in the last day"
        yield Finding("service", ERROR, text, REMEDIES[Classic.MEMORY])
        return
    ways = Counter(item.detail for item in happened)
    if ways:
        how = ", ".join(f"{way} ({_times(count)})" for way, count in ways.most_common())
        text = f"{named} ended by itself in the last day: {how}"
        yield Finding("service", WARNING, text, f"{_read_log(group, named)} for what came before")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _classics(
    subject: Subject, group: StackSpec, status: ServiceStatus, happened: list[Happening]
) -> Iterator[Finding]:
    """Only where something went wrong: a line of a log that went well means nothing."""
    if status.state in (State.HEALTHY, State.STOPPED) and not happened:
        return
    lines = list(subject.runtime.logs(group, status.service, lines=LOG_LINES))
    for symptom in symptoms(f"{group.project}/{status.service}", lines, status.detail):
        text = f"{symptom.classic} at {symptom.service}: {symptom.said}"
        yield Finding("symptom", ERROR, text, REMEDIES[symptom.classic])
