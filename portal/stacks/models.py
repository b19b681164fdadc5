"""Stacks, and the releases that were deployed to them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from portal.operations.models import Operation


class StackState(models.TextChoices):
    """What an operator wants of a stack; what its services do is asked of the runtime."""

    RUNNING = "running"
    STOPPED = "stopped"


class Stack(models.Model):
    """One deployed set of services in one environment."""

    name = models.SlugField(unique=True)
    environment = models.CharField(max_length=40, default="production")
    runtime = models.CharField(max_length=20, default="embedded")
    state = models.CharField(max_length=8, choices=StackState.choices, default=StackState.RUNNING)
    # Whether the registries of its images are asked once a day what they have by now.
    looks_daily = models.BooleanField(default=True, db_default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def target(self) -> str:
        """How operations and claims name it."""
        return f"stack:{self.name}"


class ReleaseState(models.TextChoices):
    """What became of a release."""

    CANDIDATE = "candidate"
    CURRENT = "current"
    KEPT = "kept"
    FAILED = "failed"


class Release(models.Model):
    """What was deployed, or was to be: written once, only its state moves on.

    Values of the environment are in no column. They stand, with the whole file as the engine gets it, encrypted in
    `sealed_file`; here are their names with keyed digests, which tell a change and nothing else.
    """

    stack = models.ForeignKey(Stack, on_delete=models.CASCADE, related_name="releases")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=9, choices=ReleaseState.choices, default=ReleaseState.CANDIDATE)
    runtime = models.CharField(max_length=20)
    # The deployed file with every value of an environment left out.
    outline = models.TextField()
    # {service: {"reference": "postgres:18.4", "id": "sha256:..."}}; ids are empty where the runtime knows no images.
    images = models.JSONField(default=dict)
    # {service: {mounted file: digest}}
    contents = models.JSONField(default=dict)
    # {name: keyed digest} of the stack's settings
    environment = models.JSONField(default=dict)
    sealed_file = models.CharField(max_length=500)
    # What the RAG service said of its schema: {"code", "database", "oldest"}; empty until it was asked.
    schema = models.JSONField(default=dict)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    # The name survives the account.
    author_name = models.CharField(max_length=254)
    note = models.CharField(max_length=500, blank=True)
    operation = models.ForeignKey(Operation, null=True, on_delete=models.SET_NULL, related_name="releases")
    # The backup set taken just before; sets belong to an app beside this one and are named.
    set_before = models.CharField(max_length=40, blank=True)
    # {code, message, remedy} of a release that failed.
    failure = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    # When it began to serve last; a release that was rolled back to has served before.
    deployed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["stack", "number"], name="release_number"),
            models.UniqueConstraint(
                fields=["stack"], condition=Q(state=ReleaseState.CURRENT), name="release_one_current"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.stack.name} {self.number} {self.state}"

    @property
    def condition(self) -> str:
        """Its state in the words of pages, which call other things current and kept."""
        return {"current": "serving", "kept": "former"}.get(self.state, self.state)


class ProjectKind(models.TextChoices):
    """Where somebody else's Compose project comes from."""

    FOLDER = "folder"
    UPLOAD = "upload"
    GIT = "git"
    ADOPTED = "adopted"


class Project(models.Model):
    """The source of a stack that is somebody else's Compose project; the product's own stack has none."""

    stack = models.OneToOneField(Stack, on_delete=models.CASCADE, related_name="project")
    kind = models.CharField(max_length=8, choices=ProjectKind.choices)
    # A folder of the engine's host, or the address of a Git repository; empty for an upload.
    place = models.CharField(max_length=500, blank=True)
    branch = models.CharField(max_length=200, blank=True)
    # Below the root of a Git repository.
    folder = models.CharField(max_length=300, blank=True)
    # Compose files, as asked for; empty: those that Compose would take by itself.
    files = models.JSONField(default=list)
    profiles = models.JSONField(default=list)
    # What needs an administrator, in the words that one agreed to.
    granted = models.JSONField(default=list)
    # What its files need, as of the last time they could be read.
    needs = models.JSONField(default=list)
    # The commit of a Git repository.
    revision = models.CharField(max_length=64, blank=True)
    # {place, message} while its files cannot be read.
    fault = models.JSONField(default=dict)
    fetched_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.stack.name} from {self.kind}"


class ImageLook(models.Model):
    """One image of a stack, as it serves and as its registry had it at the last look."""

    stack = models.ForeignKey(Stack, on_delete=models.CASCADE, related_name="image_looks")
    reference = models.CharField(max_length=500)
    services = models.JSONField(default=list)
    # What a registry knows it by; empty for one that was built or loaded here, of which no registry is asked.
    digest = models.CharField(max_length=100, blank=True)
    # What the registry has under the same name by now, when that is another one.
    newer_digest = models.CharField(max_length=100, blank=True)
    # The newest tag of the same line, when there is a newer one.
    newer_tag = models.CharField(max_length=128, blank=True)
    # The setting that names the image; empty where only the file does.
    setting = models.CharField(max_length=100, blank=True)
    # {"interrupted": services that stand still for a moment, "touches": sentences} of a deploy of another image.
    effect = models.JSONField(default=dict)
    # Why the registry could not tell all of it.
    fault = models.CharField(max_length=500, blank=True)
    looked_at = models.DateTimeField()

    class Meta:
        ordering = ["reference"]
        constraints = [models.UniqueConstraint(fields=["stack", "reference"], name="image_look_once")]

    def __str__(self) -> str:
        return f"{self.stack_id} {self.reference} {self.condition}"

    @property
    def is_newer(self) -> bool:
        """Whether there is anything newer."""
        return bool(self.newer_digest or self.newer_tag)

    @property
    def condition(self) -> str:
        """newer image, newer version, current, unknown (the registry could not be asked), or local."""
        if not self.digest:
            return "local"
        if self.is_newer:
            return "newer image" if self.newer_digest else "newer version"
        return "unknown" if self.fault else "current"
