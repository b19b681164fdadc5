"""What went wrong and lasts, and the channels that it is told through."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from portal.operations.models import Operation
from portal.vaults.models import Plan


class Severity(models.TextChoices):
    """How much an alarm matters."""

    WARNING = "warning"
    BAD = "bad"


class Alarm(models.Model):
    """Something that is wrong from `raised_at` until `cleared_at`; at most one open row per key.

    Before `due_at` it is nobody's business: much of what is found mends itself, and then the row goes again.
    """

    # What is wrong with what, e.g. "plan.overdue plan:default".
    key = models.CharField(max_length=200)
    severity = models.CharField(max_length=7, choices=Severity.choices)
    title = models.CharField(max_length=300)
    remedy = models.TextField(blank=True)
    operation = models.ForeignKey(Operation, null=True, on_delete=models.SET_NULL, related_name="+")
    raised_at = models.DateTimeField()
    due_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-raised_at"]
        constraints = [models.UniqueConstraint(fields=["key"], condition=Q(cleared_at=None), name="alarm_open_once")]

    def __str__(self) -> str:
        return self.title


class Channel(models.Model):
    """Where alarms are told: one Apprise address (mail, webhook, chat), kept in a file because it holds credentials."""

    name = models.SlugField(unique=True)
    url_file = models.CharField(max_length=500)
    # Alarms below this are not told here.
    least = models.CharField(max_length=7, choices=Severity.choices, default=Severity.WARNING)
    enabled = models.BooleanField(default=True)
    last_sent_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Notice(models.Model):
    """That an alarm, or its end, was or is to be told through a channel; sent until it succeeds."""

    alarm = models.ForeignKey(Alarm, on_delete=models.CASCADE, related_name="notices")
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="notices")
    about = models.CharField(max_length=7, choices=[("raised", "raised"), ("cleared", "cleared")])
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["created_at"]
        constraints = [models.UniqueConstraint(fields=["alarm", "channel", "about"], name="notice_once")]

    def __str__(self) -> str:
        return f"{self.about}: {self.alarm_id} through {self.channel_id}"


class Ping(models.Model):
    """That a plan's dead man's switch was, or is to be, told of a run."""

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="pings")
    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="pings")
    about = models.CharField(max_length=7)
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "operation", "about"], name="ping_once")]

    def __str__(self) -> str:
        return f"{self.about} of {self.operation_id}"
