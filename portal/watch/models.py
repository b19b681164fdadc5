"""What services used, in which condition they were last seen, and what happened to them."""

from __future__ import annotations

from django.db import models

from portal.stacks.models import Stack


class Sample(models.Model):
    """What one service used in one minute. Seconds and bytes count from the service's start, so that samples may be
    thinned out: the difference of any two is what was used between them. None is what the runtime cannot tell."""

    stack = models.ForeignKey(Stack, on_delete=models.CASCADE, related_name="samples")
    service = models.CharField(max_length=63)
    at = models.DateTimeField()
    memory_bytes = models.BigIntegerField()
    cpu_seconds = models.FloatField()
    network_in = models.BigIntegerField(null=True)
    network_out = models.BigIntegerField(null=True)
    disk_read = models.BigIntegerField(null=True)
    disk_written = models.BigIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stack", "service", "at"], name="sample_once")]
        indexes = [models.Index(fields=["at"])]

    def __str__(self) -> str:
        return f"{self.stack_id} {self.service} {self.at:%Y-%m-%d %H:%M}"


class Watched(models.Model):
    """One service as it was last seen; `settled` is the last condition other than starting, `since` a Unix time."""

    stack = models.ForeignKey(Stack, on_delete=models.CASCADE, related_name="watched")
    service = models.CharField(max_length=63)
    state = models.CharField(max_length=12)
    settled = models.CharField(max_length=12)
    since = models.FloatField(null=True)
    seen_at = models.DateTimeField()
    # How many processes the kernel of this machine had killed for want of memory by then.
    memory_kills = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stack", "service"], name="watched_once")]

    def __str__(self) -> str:
        return f"{self.stack_id} {self.service} {self.state}"


class EventKind(models.TextChoices):
    """What can happen to a service."""

    STARTED = "started"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    UNHEALTHY = "unhealthy"
    GAVE_UP = "gave_up"
    RECOVERED = "recovered"


class Event(models.Model):
    """Something that happened to a service; `detail` is a short sentence, empty when the kind says it all."""

    stack = models.ForeignKey(Stack, on_delete=models.CASCADE, related_name="events")
    service = models.CharField(max_length=63)
    at = models.DateTimeField()
    kind = models.CharField(max_length=13, choices=EventKind.choices)
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [models.UniqueConstraint(fields=["stack", "service", "at", "kind"], name="event_once")]
        indexes = [models.Index(fields=["-at"])]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.service} {self.kind}"
