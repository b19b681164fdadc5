"""Starting an operation from the command line and following its rows; works while the portal's pages are down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from config.cli.output import Output, UserError
from portal.runtime.paths import CONTROL, RuntimePaths
from portal.runtime.state import read_state

if TYPE_CHECKING:
    from portal.operations.models import Operation
    from portal.stacks.models import Stack
    from portal.vaults.models import BackupSet

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 15.0
EXIT_PARTIAL = 3


def connect() -> None:
    """Make the portal's models usable in this process.

    Raises:
        UserError: nothing was set up yet, or the portal's database does not answer.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.run")
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.db import OperationalError, connection

    try:
        django.setup()
        connection.ensure_connection()
    except ImproperlyConfigured as error:
        untouched = read_state(RuntimePaths.discover().root(CONTROL)) is None
        message = "nothing is set up here yet" if untouched else str(error).rstrip(".")
        raise UserError(message, "run python3 manage.py up", "not_set_up") from None
    except OperationalError:
        remedy = "run python3 manage.py up, or see manage.py status"
        raise UserError("the portal's database does not answer", remedy, "control_down") from None


def default_stack() -> Stack:
    """
    Raises:
        UserError: nothing was set up yet.
    """
    from portal.stacks.models import Stack
    from portal.stacks.selectors import stack_get_default

    try:
        return stack_get_default()
    except Stack.DoesNotExist:
        raise UserError("there is no stack yet", "python3 manage.py up", "not_set_up") from None


def run_operation(output: Output, kind: str, params: Mapping[str, Any] | None = None) -> Operation:
    """Start (or join) an operation on the stack and follow it to its end.

    Raises:
        UserError: it was refused, failed, was cancelled or lost.
        KeyboardInterrupt: the caller stopped looking; the operation goes on.
    """
    from portal.operations.services import operation_start

    stack = default_stack()
    return run_started(output, lambda: operation_start(kind=kind, target=stack.target, params=params))


def run_started(output: Output, start: Callable[[], Operation]) -> Operation:
    """Follow the operation that `start` starts or joins to its end; raises as run_operation does."""
    from portal.operations.errors import OperationError

    try:
        operation = start()
    except OperationError as refused:
        raise user_error(refused) from None
    try:
        follow(output, operation)
    except KeyboardInterrupt:
        output.line(f"the operation {operation.pk} goes on; the same command joins it again")
        raise
    _demand_success(operation)
    return operation


def user_error(error: Any) -> UserError:  # noqa: ANN401 - an OperationError, whose module needs Django to be set up
    return UserError(error.message, error.remedy, error.code)


def follow(output: Output, operation: Operation) -> None:
    """Show steps and progress until the operation has ended; its row is fresh then."""
    shown, began = set[int](), time.monotonic()
    while True:
        operation.refresh_from_db()
        _show(output, operation, shown)
        if operation.is_finished:
            return
        if began and not operation.started_at and time.monotonic() - began > PATIENCE_SECONDS:
            output.line("it still waits for the worker; `python3 manage.py status` shows whether that runs")
            began = 0.0
        time.sleep(POLL_SECONDS)


def _show(output: Output, operation: Operation, shown: set[int]) -> None:
    from django.db.models import Q

    from portal.operations.models import Step, StepState

    steps = Step.objects.filter(Q(operation=operation) | Q(operation__parent=operation)).order_by("started_at", "pk")
    for step in steps:
        if step.state != StepState.STARTED and step.pk not in shown:
            shown.add(step.pk)
            mark = "failed" if step.state == StepState.FAILED else "done"
            output.line(f"  {mark}: {step.title}{_seconds(step)}")
    current = [step for step in steps if step.state == StepState.STARTED]
    if current and output.console.is_terminal:
        output.step(f"{current[-1].title} {_fraction(operation)}".rstrip())


def _seconds(step: Any) -> str:  # noqa: ANN401 - a Step, see above
    if step.finished_at is None:
        return ""
    return f" ({(step.finished_at - step.started_at).total_seconds():.1f} s)"


def _fraction(operation: Operation) -> str:
    fraction = operation.progress.get("fraction")
    return "" if fraction is None else f"{fraction:.0%}"


def _demand_success(operation: Operation) -> None:
    from portal.operations.models import State

    if operation.state in (State.SUCCEEDED, State.PARTIAL):
        return
    found = operation.error or {}
    message = found.get("message") or f"the operation was {operation.state}"
    raise UserError(message, found.get("remedy", ""), found.get("code", str(operation.state)))


def choose_set(wanted: str) -> BackupSet:
    """The set with this id, or the newest good one for `latest`.

    Raises:
        UserError: there is none.
    """
    from portal.vaults.models import BackupSet
    from portal.vaults.selectors import set_get, set_latest

    if wanted == "latest":
        found = set_latest()
        if found is None:
            raise UserError("there is no complete backup set yet", "python3 manage.py backup", "no_set")
        return found
    try:
        return set_get(wanted)
    except BackupSet.DoesNotExist:
        raise UserError(f"there is no backup set {wanted!r}", "python3 manage.py sets lists them", "no_set") from None
