"""Operations, their journal, their log and the claims that keep them out of each other's way."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q


class State(models.TextChoices):
    """Where an operation is in its life (DESIGN section 5)."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    LOST = "lost"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


ACTIVE = (State.QUEUED, State.RUNNING, State.CANCELLING)
FINISHED = (State.SUCCEEDED, State.PARTIAL, State.FAILED, State.LOST, State.CANCELLED)


class Operation(models.Model):
    """One long action; the only truth about it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=40)
    target = models.CharField(max_length=200)
    params = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    # {stage, fraction, counts, note}; empty until the first report.
    progress = models.JSONField(default=dict)
    result = models.JSONField(default=dict)
    # {code, message, remedy}; empty unless it went wrong.
    error = models.JSONField(default=dict)
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="children")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    # What an identical trigger looks like; unique among active operations, so that a second one joins the first.
    join_key = models.CharField(max_length=300)
    # Fencing token: raised whenever a new worker takes over.
    attempt = models.PositiveIntegerField(default=0)
    cancel_requested = models.BooleanField(default=False)
    # Raised with every visible change; browsers fetch again when it differs.
    seq = models.BigIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True)
    enqueued_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["-created_at"]),
            models.Index(fields=["state"], condition=Q(state__in=ACTIVE), name="operation_active"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["join_key"], condition=Q(state__in=ACTIVE, parent=None), name="operation_joins"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.target} {self.state}"

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def stack_name(self) -> str:
        """`rag` of the target `stack:rag`."""
        return self.target.partition(":")[2]


class StepState(models.TextChoices):
    """How far a step got."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


class Step(models.Model):
    """A line of the journal: written before the step and completed after it."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="steps")
    ordinal = models.PositiveIntegerField()
    name = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    state = models.CharField(max_length=8, choices=StepState.choices, default=StepState.STARTED)
    data = models.JSONField(default=dict)
    attempt = models.PositiveIntegerField()
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["ordinal"]
        constraints = [models.UniqueConstraint(fields=["operation", "ordinal"], name="step_ordinal")]

    def __str__(self) -> str:
        return f"{self.ordinal} {self.name} {self.state}"


class LogLine(models.Model):
    """A line an operation wrote; `seq` counts from 1 within its operation."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="log_lines")
    seq = models.PositiveIntegerField()
    at = models.DateTimeField(auto_now_add=True)
    level = models.CharField(max_length=8)
    text = models.TextField()

    class Meta:
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(fields=["operation", "seq"], name="log_line_seq")]

    def __str__(self) -> str:
        return f"{self.level} {self.text}"


class Mode(models.TextChoices):
    """Whether a claim tolerates others on the same thing."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


class Claim(models.Model):
    """An active operation's hold on a thing such as `stack:rag`; removed in the transaction that finishes it."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="claims")
    scope = models.CharField(max_length=200)
    mode = models.CharField(max_length=9, choices=Mode.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scope"], condition=Q(mode=Mode.EXCLUSIVE), name="claim_exclusive"),
            models.UniqueConstraint(fields=["scope", "operation"], name="claim_once"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.mode}"
