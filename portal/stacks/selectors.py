"""Reading stacks: the row from the database, its services from the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from portal.core import places
from portal.operations.errors import OperationRefused
from portal.runtime.errors import StackRuntimeError
from portal.runtime.protocol import ServiceStatus
from portal.stacks.models import Stack


def stack_get_default() -> Stack:
    """The stack that `up` made.

    Raises:
        Stack.DoesNotExist: nothing was set up yet.
    """
    return Stack.objects.earliest("created_at")


def stack_of(target: str) -> Stack:
    """The stack that `stack:NAME` names.

    Raises:
        OperationRefused: there is none.
    """
    name = target.partition(":")[2]
    found = Stack.objects.filter(name=name).first()
    if found is None:
        raise OperationRefused(f"There is no stack called {name}.", remedy="`python3 manage.py up` makes one.")
    return found


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One service now; `state` is healthy, starting, unhealthy, stopped or failed, `memory_bytes` and `pid` None when
    it does not run; `scalable`: it can have several instances."""

    name: str
    title: str
    state: str
    detail: str
    since: datetime | None
    memory_bytes: int | None
    pid: int | None
    instances: int = 1
    scalable: bool = False


def stack_services(stack: Stack) -> list[ServiceRow]:
    """Every service of the stack, asked of the runtime now, in the order of the stack file.

    Raises:
        StackRuntimeError: the runtime does not answer.
    """
    runtime, spec = places.runtime(), places.stack_spec(stack.name)
    if spec.foreign is not None and not places.in_containers():
        raise StackRuntimeError(
            f"{stack.name} is a Compose project, and this installation has no Docker",
            "bring the portal back to a machine that has it, or remove the stack",
        )
    several = {name for name, service in spec.services.items() if not (service.single or service.published)}
    return [
        _row(status, scalable=runtime.features.replicas and status.service in several)
        for status in runtime.status(spec)
    ]


def _row(status: ServiceStatus, *, scalable: bool) -> ServiceRow:
    since = datetime.fromtimestamp(status.since, UTC) if status.since else None
    return ServiceRow(
        status.service,
        status.title,
        str(status.state),
        status.detail,
        since,
        status.memory_bytes,
        status.pid,
        status.instances,
        scalable,
    )
