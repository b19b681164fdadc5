"""What the services of a stack wrote, fit to be shown: without escapes and without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from django.conf import settings

from portal.core import places
from portal.runtime.spec import StackSpec
from portal.stacks.loglines import Line, Wanted, lines_of, merged
from portal.stacks.models import Stack

EVERYTHING = Wanted()


def stack_lines(stack: Stack, services: Sequence[str], *, lines: int = 200) -> list[Line]:
    """The last `lines` lines of each of these services, none named: of all, in the order of their moments.

    Raises:
        UnknownServiceError: the stack has no such service.
        StackRuntimeError: the runtime does not answer.
    """
    spec = places.stack_spec(stack.name)
    names = [spec.service(name).name for name in services] or list(spec.services)
    return merged([list(_read(spec, name, lines)) for name in names])


def stack_log_text(stack: Stack, service: str, *, lines: int, wanted: Wanted = EVERYTHING) -> Iterator[str]:
    """The lines of one service that are wanted, each with its end, read as they are asked for.

    Raises:
        UnknownServiceError, StackRuntimeError: as stack_lines, when the first one is read.
    """
    spec = places.stack_spec(stack.name)
    for line in _read(spec, spec.service(service).name, lines):
        if wanted.takes(line):
            yield f"{line.text}\n"


def _read(spec: StackSpec, service: str, lines: int) -> Iterator[Line]:
    runtime = places.runtime()
    # Containers know no zone but UTC.
    zone: tzinfo = UTC if runtime.features.images else ZoneInfo(settings.LOCAL_TIME_ZONE)
    texts = runtime.logs(spec, service, lines=lines)
    return lines_of(service, texts, secrets=secrets_of(spec), zone=zone)


def secrets_of(spec: StackSpec) -> list[str]:
    """The values that must not be shown, as far as this process may read them; what it cannot read it cannot match."""
    here, found = places.location(spec), list[str]()
    for name in spec.secrets:
        with suppress(OSError, UnicodeDecodeError):
            found.append(here.secret(name).read_text(encoding="utf-8").strip())
    return found
