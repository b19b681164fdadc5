"""What a handler is given: the journal, progress, the log, children, and the question whether it may go on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import F, Max
from django.db.models.functions import Now

from backups import fault
from portal.operations import fencing
from portal.operations.errors import Cancelled, Fenced, OperationError
from portal.operations.events import announce, touch
from portal.operations.heartbeat import Monitor
from portal.operations.models import LogLine, Operation, Step, StepState
from portal.operations.progress import Progress, Throttle
from portal.operations.transitions import HELD


class Context:
    """An operation at work in this process, in one attempt."""

    def __init__(self, operation: Operation, monitor: Monitor) -> None:
        self.operation = operation
        self.monitor = monitor
        self._throttle = Throttle()
        self._log_seq = operation.log_lines.aggregate(last=Max("seq"))["last"] or 0

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.operation.params)

    @property
    def attempt(self) -> int:
        return self.operation.attempt

    @property
    def work(self) -> Path:
        return fencing.work_dir(self.operation.pk)

    @property
    def fence(self) -> Path:
        return fencing.fence_path(self.operation.pk)

    def checkpoint(self) -> None:
        """Stop here when the operation was taken from us or cancelled.

        Raises:
            Fenced, Cancelled
        """
        self.guard()
        if self.monitor.cancelled.is_set():
            raise Cancelled

    def guard(self) -> None:
        """Stop here when the operation was taken from us; a cancelled one may go on, to undo what it did.

        Raises:
            Fenced
        """
        row = Operation.objects.filter(pk=self.operation.pk, attempt=self.attempt, state__in=HELD)
        if self.monitor.fenced.is_set() or not row.exists():
            raise Fenced

    @contextmanager
    def step(self, name: str, title: str, *, undoing: bool = False) -> Iterator[dict[str, Any]]:
        """Journal a step before and after it; the yielded dict is kept with it.

        Args:
            undoing: it runs even though the operation was cancelled.

        Raises:
            Fenced, Cancelled: before the step began.
        """
        (self.guard if undoing else self.checkpoint)()
        row, data = self.step_open(name, title), dict[str, Any]()
        try:
            yield data
        except BaseException as error:
            if isinstance(error, OperationError):
                data["error"] = error.as_dict()
            self.step_close(row, StepState.FAILED, data)
            raise
        self.step_close(row, StepState.DONE, data)

    def step_open(self, name: str, title: str) -> Step:
        """Begin a step that somebody else, such as the agent, carries out and that `step_close` ends."""
        with transaction.atomic():
            last = self.operation.steps.aggregate(last=Max("ordinal"))["last"] or 0
            row = Step.objects.create(
                operation=self.operation, ordinal=last + 1, name=name, title=title, attempt=self.attempt
            )
            touch(self.operation)
        fault.reach(f"worker.{self.operation.kind}.{name}.started")
        return row

    def step_close(self, row: Step, state: StepState, data: Mapping[str, Any]) -> None:
        """End a step that `step_open` began."""
        with transaction.atomic():
            # An attempt that was fenced off may not complete a step that its successor has closed.
            open_row = Step.objects.filter(pk=row.pk, state=StepState.STARTED)
            open_row.update(state=state, data={**row.data, **data}, finished_at=Now())
            touch(self.operation)
        fault.reach(f"worker.{self.operation.kind}.{row.name}.{state}")

    def note(self, name: str, data: Mapping[str, Any]) -> None:
        """Add to the open step's data at once, for whoever resumes after a crash inside the step."""
        row = self.operation.steps.filter(name=name, state=StepState.STARTED).latest("ordinal")
        row.data = {**row.data, **data}
        row.save(update_fields=["data"])

    def began(self, name: str) -> bool:
        """Whether any attempt began the step."""
        return self.operation.steps.filter(name=name).exists()

    def done(self, name: str) -> dict[str, Any] | None:
        """The data of the step if any attempt completed it and nobody took it back, else None."""
        row = self.operation.steps.filter(name=name).exclude(state=StepState.STARTED).order_by("-ordinal")
        done = row.filter(state=StepState.DONE).first()
        return dict(done.data) if done else None

    def recorded(self, name: str) -> dict[str, Any]:
        """What all attempts together wrote into steps of this name, later over earlier."""
        merged: dict[str, Any] = {}
        for row in self.operation.steps.filter(name=name):
            merged |= row.data
        return merged

    def mark_undone(self, name: str) -> None:
        """Say in the journal that a completed step was taken back."""
        self.operation.steps.filter(name=name, state=StepState.DONE).update(state=StepState.UNDONE)
        touch(self.operation)

    def progress(
        self,
        stage: str,
        fraction: float | None = None,
        counts: Mapping[str, int | float] | None = None,
        note: str = "",
    ) -> None:
        """Report how far we are; at most one report a second reaches the database."""
        report = self._throttle.offer(Progress(stage, fraction, dict(counts or {}), note), time.monotonic())
        if report:
            self._write(report)

    def flush_progress(self) -> None:
        """Write the last report that was held back."""
        report = self._throttle.flush()
        if report:
            self._write(report)

    def _write(self, report: Progress) -> None:
        row = Operation.objects.filter(pk=self.operation.pk, attempt=self.attempt, state__in=HELD)
        if row.update(progress=report.as_dict(), seq=F("seq") + 1):
            announce(self.operation)

    def log(self, text: str, *, level: str = "info") -> None:
        """Append a line to the operation's log."""
        self._log_seq += 1
        LogLine.objects.create(operation=self.operation, seq=self._log_seq, level=level, text=text[:10_000])
        touch(self.operation)

    def child(self, kind: str, params: Mapping[str, Any]) -> Operation:
        """Run another kind of operation to its end under our claims; one that an earlier attempt finished is reused.

        Raises:
            Fenced, Cancelled
        """
        from portal.operations.worker import run_child

        return run_child(self, kind, params)
