"""The stack's services as pages show them: also when the runtime does not answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.http import Http404
from django.shortcuts import get_object_or_404
from django.urls import reverse

from portal.runtime.errors import StackRuntimeError
from portal.stacks.models import Stack
from portal.stacks.selectors import ServiceRow, stack_get_default, stack_services
from portal.web.words import Look, look


@dataclass(frozen=True, slots=True)
class Services:
    """Rows of the services, or why there are none: what is wrong, and the remedy."""

    rows: list[ServiceRow] = field(default_factory=list)
    fault: StackRuntimeError | None = None

    @property
    def health(self) -> Look:
        return health_of([row.state for row in self.rows])

    @property
    def healthy(self) -> int:
        return sum(row.state == "healthy" for row in self.rows)


def services_of(stack: Stack) -> Services:
    """Ask the runtime now."""
    try:
        return Services(stack_services(stack))
    except StackRuntimeError as fault:
        return Services(fault=fault)


def health_of(states: list[str]) -> Look:
    """One word for a whole stack: the worst of its services decides, except that an all-stopped stack is stopped."""
    if not states:
        return look("unknown")
    if set(states) == {"stopped"}:
        return look("stopped")
    for state in ("failed", "unhealthy", "stopped", "starting"):
        if state in states:
            return look("unhealthy" if state == "stopped" else state)
    return look("healthy")


def stack_or_404(name: str = "") -> Stack:
    """The further stack of that name; without one, the product's own.

    Raises:
        Http404: there is none, or nothing was set up yet.
    """
    if name:
        return get_object_or_404(Stack.objects.select_related("project"), name=name, project__isnull=False)
    try:
        return stack_get_default()
    except Stack.DoesNotExist:
        raise Http404("There is no stack yet: `python3 manage.py up` makes one.") from None


def address_of(target: str) -> str:
    """The page of the stack that an operation is on; empty for anything else, and for one that was removed."""
    kind, _, name = target.partition(":")
    found = Stack.objects.select_related("project").filter(name=name).first() if kind == "stack" else None
    return reverse("stack", kwargs=at(name if hasattr(found, "project") else "")) if found else ""


def at(name: str) -> dict[str, str]:
    """What the addresses of a stack's pages are made with: its name, or nothing for the product's own."""
    return {"stack_name": name} if name else {}
