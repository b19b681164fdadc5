"""What the services of a stack wrote, fit to be shown: without escapes and without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from django.conf import settings

from portal.core import places
from portal.operations.asking import by_worker
from portal.operations.faults import runtime_faults
from portal.runtime.spec import StackSpec
from portal.stacks.loglines import Line, Wanted, lines_of, merged
from portal.stacks.models import Stack
from portal.stacks.projects.variables import project_secrets

EVERYTHING = Wanted()
PATIENCE_SECONDS = 20.0


def stack_lines(stack: Stack, services: Sequence[str], *, lines: int = 200) -> list[Line]:
    """The last `lines` lines of each of these services, none named: of all, in the order of their moments.

    Raises:
        UnknownServiceError: the stack has no such service.
        OperationFailed: the runtime does not answer.
    """
    spec = places.stack_spec(stack.name)
    names = spec.named(services or None)
    found = _lines(spec.project, names, lines)
    return merged([[line for line in found if line.service == name] for name in names])


def stack_log_text(stack: Stack, service: str, *, lines: int, wanted: Wanted = EVERYTHING) -> Iterator[str]:
    """The lines of one service that are wanted, each with its end, read when the first one is asked for.

    Raises:
        UnknownServiceError, OperationFailed: as stack_lines.
    """
    name = places.stack_spec(stack.name).service(service).name
    for line in _lines(stack.name, [name], lines):
        if wanted.takes(line):
            yield f"{line.text}\n"


def _lines(stack: str, services: list[str], count: int) -> list[Line]:
    return [Line(*told) for told in _read(stack=stack, services=services, lines=count)]


# Only the worker can read every secret, and so leave it out.
@by_worker(patience=PATIENCE_SECONDS)
def _read(*, stack: str, services: list[str], lines: int) -> list[tuple[str, str, str, float | None]]:
    runtime, spec = places.runtime(), places.stack_spec(stack)
    # Containers know no zone but UTC.
    zone: tzinfo = UTC if runtime.features.images else ZoneInfo(settings.LOCAL_TIME_ZONE)
    secrets = _secrets(spec)
    with runtime_faults():
        return [
            (name, line.text, line.level, line.at)
            for name in services
            for line in lines_of(name, runtime.logs(spec, name, lines=lines), secrets=secrets, zone=zone)
        ]


def _secrets(spec: StackSpec) -> list[str]:
    if spec.foreign is not None:
        return project_secrets(spec)
    here, found = places.location(spec), list[str]()
    for name in spec.secrets:
        with suppress(OSError, UnicodeDecodeError):
            found.append(here.secret(name).read_text(encoding="utf-8").strip())
    return found
