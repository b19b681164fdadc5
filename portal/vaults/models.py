"""Repositories, plans, backup sets, drills and restores.

Stacks are named, not referenced: an app beside this one owns them, and a set outlives its stack.
"""

from __future__ import annotations

from django.db import models

from portal.operations.models import Operation


class Repository(models.Model):
    """A restic repository."""

    name = models.SlugField(unique=True)
    # What restic takes as -r: a folder, sftp:, s3:, rest:.
    url = models.CharField(max_length=500)
    password_file = models.CharField(max_length=500)
    restic_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "repositories"

    def __str__(self) -> str:
        return self.name

    @property
    def is_local(self) -> bool:
        return self.url.startswith("/")

    @property
    def scope(self) -> str:
        """How claims name it."""
        return f"repository:{self.name}"


class Plan(models.Model):
    """What to back up, when and where to."""

    name = models.SlugField(unique=True)
    stack = models.CharField(max_length=50)
    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="plans")
    cron = models.CharField(max_length=100, default="30 2 * * *")
    time_zone = models.CharField(max_length=60, default="UTC")
    enabled = models.BooleanField(default=True)
    # A drill follows the first successful backup of a day.
    drill = models.BooleanField(default=True)
    next_run_at = models.DateTimeField(null=True)
    last_run_at = models.DateTimeField(null=True)
    last_operation = models.ForeignKey(Operation, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return self.name


class SetState(models.TextChoices):
    """Whether a backup set holds everything it should."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class BackupSet(models.Model):
    """One point in time across all sources of a stack."""

    # YYYYMMDDTHHMMSSZ-<6 hex>
    id = models.CharField(primary_key=True, max_length=32)
    stack = models.CharField(max_length=50)
    repository = models.ForeignKey(Repository, on_delete=models.PROTECT, related_name="sets")
    operation = models.ForeignKey(Operation, null=True, on_delete=models.SET_NULL, related_name="backup_sets")
    state = models.CharField(max_length=8, choices=SetState.choices)
    taken_at = models.DateTimeField()
    freeze_ms = models.FloatField(null=True)
    seconds = models.FloatField(null=True)
    bytes_total = models.BigIntegerField(default=0)
    bytes_added = models.BigIntegerField(default=0)
    counts = models.JSONField(default=dict)
    sources = models.JSONField(default=dict)
    snapshot_id = models.CharField(max_length=64, blank=True)
    # When a drill or a restore last showed that this set comes back.
    proven_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-taken_at"]
        indexes = [models.Index(fields=["stack", "-taken_at"])]

    def __str__(self) -> str:
        return self.id


class DrillState(models.TextChoices):
    """How a drill ended."""

    PASSED = "passed"
    FAILED = "failed"


class Drill(models.Model):
    """A set restored into a throw-away stack and questioned there."""

    set = models.ForeignKey(BackupSet, on_delete=models.CASCADE, related_name="drills")
    operation = models.OneToOneField(Operation, null=True, on_delete=models.SET_NULL, related_name="drill")
    state = models.CharField(max_length=6, choices=DrillState.choices)
    seconds = models.FloatField()
    # {checks: [{name, expected, found, ok}], canary: {...}, seconds: {stage: ...}}
    report = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.set_id} {self.state}"


class RestoreState(models.TextChoices):
    """What became of a restore; `kept` means the data from before it can still be had back."""

    KEPT = "kept"
    CONFIRMED = "confirmed"
    UNDONE = "undone"
    FAILED = "failed"


class Restore(models.Model):
    """A set brought back into the live stack."""

    set = models.ForeignKey(BackupSet, on_delete=models.PROTECT, related_name="restores")
    # The operation whose id names the kept volumes.
    operation = models.OneToOneField(Operation, on_delete=models.PROTECT, related_name="restore")
    safety_set = models.ForeignKey(BackupSet, null=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(max_length=9, choices=RestoreState.choices)
    downtime_ms = models.FloatField(null=True)
    canary = models.JSONField(default=dict)
    kept_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.set_id} {self.state}"
