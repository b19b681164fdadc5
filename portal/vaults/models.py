"""Repositories, plans, backup sets, drills and restores.

Stacks are named, not referenced: an app beside this one owns them, and a set outlives its stack.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings
from django.db import models

from portal.operations.models import Operation


class Repository(models.Model):
    """A restic repository."""

    name = models.SlugField(unique=True)
    # What restic takes as -r: a folder, sftp:, s3:, rest:.
    url = models.CharField(max_length=500)
    password_file = models.CharField(max_length=500)
    restic_id = models.CharField(max_length=64, blank=True)
    # A file of NAME=VALUE lines for restic's environment, e.g. AWS_ACCESS_KEY_ID; empty when the place asks for none.
    credentials_file = models.CharField(max_length=500, blank=True)
    # How to reach the place beyond its address: {"ca_file", "sftp_key_file", "known_hosts_file", "region", ...}.
    options = models.JSONField(default=dict)
    # The everyday credential can add and read, not remove; what removes uses the second address and credential.
    append_only = models.BooleanField(default=False)
    prune_url = models.CharField(max_length=500, blank=True)
    prune_credentials_file = models.CharField(max_length=500, blank=True)
    # Every complete set is copied there (3-2-1).
    copy_to = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="copied_from")
    # Pack data is read in `check_parts` slices; `check_part` is the last slice that was read without an error.
    check_parts = models.PositiveIntegerField(default=7)
    check_part = models.PositiveIntegerField(default=0)
    checked_at = models.DateTimeField(null=True)
    # {code, message, remedy, sets: [...]} of the last check that found something; empty when none did.
    check_error = models.JSONField(default=dict)
    pruned_at = models.DateTimeField(null=True)
    # {total_size, snapshots_count, free_bytes, ...} as last measured.
    stats = models.JSONField(default=dict)
    stats_at = models.DateTimeField(null=True)
    # What an object store grants us; a folder is asked for its disk instead.
    capacity_bytes = models.BigIntegerField(null=True, blank=True)
    # Set when a key change moved everything to another repository: kept for reading, never written again.
    replaced_by = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="replaces")
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


# Plans of a recovered portal wait until somebody says that the old machine is gone: a date that never comes.
HELD = datetime(9999, 1, 1, tzinfo=UTC)


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
    # A run starts up to this many seconds late, so that many plans do not start at once.
    jitter_seconds = models.PositiveIntegerField(default=0)
    # While this lies ahead nothing is started; `enabled` switches the plan off without an end.
    paused_until = models.DateTimeField(null=True, blank=True)
    # Names of sources; empty means all that the stack has.
    sources = models.JSONField(default=list, blank=True)
    # {last, hourly, daily, weekly, monthly, yearly: n, within: "30d"}; empty keeps everything.
    keep = models.JSONField(default=dict, blank=True)
    # A set whose source shrank by more than this raises an alarm, and retention waits.
    shrink_percent = models.PositiveIntegerField(default=30)
    # When slices of the repository are read back, and when sets are drilled; empty: a drill follows a day's first set.
    check_cron = models.CharField(max_length=100, blank=True)
    drill_cron = models.CharField(max_length=100, blank=True)
    next_check_at = models.DateTimeField(null=True)
    next_drill_at = models.DateTimeField(null=True)
    # {upload_kib, download_kib, nice, io_idle, processors}: what a run may take of the machine.
    limits = models.JSONField(default=dict, blank=True)
    # File with the address of a dead man's switch; told of start, success and failure.
    ping_url_file = models.CharField(max_length=500, blank=True)
    next_run_at = models.DateTimeField(null=True)
    last_run_at = models.DateTimeField(null=True)
    last_operation = models.ForeignKey(Operation, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return self.name

    @property
    def is_held(self) -> bool:
        """Whether it waits until a recovered portal takes over."""
        return self.paused_until == HELD


class HookOn(models.TextChoices):
    """When a hook runs; all but `before` come after the backup."""

    BEFORE = "before"
    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"


class Hook(models.Model):
    """A command that a plan runs before or after its backup."""

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="hooks")
    on = models.CharField(max_length=7, choices=HookOn.choices)
    # The program and its words; never a shell.
    command = models.JSONField(default=list)
    timeout_seconds = models.PositiveIntegerField(default=300)
    ordinal = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["ordinal", "pk"]

    def __str__(self) -> str:
        return f"{self.plan_id} {self.on}"


class SourceKind(models.TextChoices):
    """What a further source of a stack is."""

    FOLDER = "folder"
    POSTGRES = "postgres"
    REDIS = "redis"


class ExtraSource(models.Model):
    """A further thing that a stack's sets contain, besides what its description names."""

    stack = models.CharField(max_length=50)
    name = models.SlugField(max_length=40)
    kind = models.CharField(max_length=8, choices=SourceKind.choices)
    # folder: {path}; postgres: {host, port, user, database, password_file}; redis: {host, port, password_file}.
    settings = models.JSONField(default=dict)

    class Meta:
        ordering = ["stack", "name"]
        constraints = [models.UniqueConstraint(fields=["stack", "name"], name="extra_source_name")]

    def __str__(self) -> str:
        return f"{self.stack} {self.name}"


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
    environment = models.CharField(max_length=40, blank=True)
    plan = models.ForeignKey(Plan, null=True, on_delete=models.SET_NULL, related_name="sets")
    tags = models.JSONField(default=list, blank=True)
    note = models.TextField(blank=True)
    # A pinned set is never removed by retention, and must be unpinned before anybody deletes it.
    pinned = models.BooleanField(default=False)
    # What looks wrong although the set is complete: [{code, source, message}].
    anomalies = models.JSONField(default=list, blank=True)
    # What set.json says without its lists: versions, models, collections, canary, seconds per step, missing.
    detail = models.JSONField(default=dict, blank=True)
    # When every byte of it was last read back and compared, and what was wrong then.
    verified_at = models.DateTimeField(null=True)
    verify_error = models.JSONField(default=dict, blank=True)
    # Gone from its repository; the row stays because restores and drills tell of it.
    removed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-taken_at"]
        indexes = [
            models.Index(fields=["-taken_at", "-id"], name="set_newest"),
            models.Index(fields=["stack", "-taken_at"]),
            models.Index(fields=["repository", "-taken_at"]),
        ]

    def __str__(self) -> str:
        return self.id


class SetCopy(models.Model):
    """A set in a further repository."""

    set = models.ForeignKey(BackupSet, on_delete=models.CASCADE, related_name="copies")
    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="copies")
    snapshot_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "set copies"
        constraints = [models.UniqueConstraint(fields=["set", "repository"], name="set_copy_once")]

    def __str__(self) -> str:
        return f"{self.set_id} in {self.repository_id}"


class ForeignSnapshot(models.Model):
    """A snapshot in one of our repositories that is no backup set: somebody else's, listed and never touched."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="foreign_snapshots")
    snapshot_id = models.CharField(max_length=64)
    taken_at = models.DateTimeField()
    host = models.CharField(max_length=255, blank=True)
    tags = models.JSONField(default=list)
    paths = models.JSONField(default=list)
    bytes_total = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["-taken_at"]
        constraints = [models.UniqueConstraint(fields=["repository", "snapshot_id"], name="foreign_snapshot_once")]

    def __str__(self) -> str:
        return self.snapshot_id[:8]


class KeyProof(models.Model):
    """Somebody typed a repository's key and it opened the repository, or did not."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="key_proofs")
    passed = models.BooleanField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.repository_id} {self.passed}"


class GoldenQuestion(models.Model):
    """A question that every drill of a stack asks, and the documents that must be among what is retrieved."""

    stack = models.CharField(max_length=50)
    question = models.TextField()
    # Names of documents as they were uploaded.
    expected = models.JSONField(default=list)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["stack", "pk"]

    def __str__(self) -> str:
        return self.question[:60]


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
    # What was brought back: {sources: [...], mode: "exact" | "merge", into: stack}; empty is all of it, exactly.
    scope = models.JSONField(default=dict, blank=True)
    downtime_ms = models.FloatField(null=True)
    canary = models.JSONField(default=dict)
    kept_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.set_id} {self.state}"
