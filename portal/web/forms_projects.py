"""The forms that add a Compose project, one for each place it may come from."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from backups.secret import Secret
from portal.operations.errors import InputInvalid
from portal.stacks.models import ProjectKind
from portal.stacks.projects.services import Wanted

_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
# What the entrance lets through as well; see config/nginx.
MOST_UPLOAD = 64 << 20


def _text(label: str, hint: str = "", *, required: bool = False, example: str = "") -> forms.CharField:
    widget = forms.TextInput(attrs={**_PLAIN, "placeholder": example})
    return forms.CharField(label=label, help_text=hint, required=required, max_length=400, widget=widget)


def _token() -> forms.CharField:
    widget = forms.PasswordInput(attrs={**_PLAIN, "autocomplete": "new-password"})
    hint = "Only where the repository asks for one. It is kept for the worker alone and never shown."
    return forms.CharField(label="Token or password", help_text=hint, required=False, max_length=1000, widget=widget)


class ProjectForm(forms.Form):
    """What every kind asks for. `kind`, `title` and `hint` are for the page."""

    kind: ClassVar[str] = ""
    title: ClassVar[str] = ""
    hint: ClassVar[str] = ""
    # Names that the service blames, where the fields here are called otherwise.
    called: ClassVar[dict[str, str]] = {"file": "compose_files"}

    name = _text("Name", "Small letters, digits, - and _. It stays.", required=True, example="shop")
    compose_files = _text("Compose files", "By commas, where not the usual ones.", example="compose.yaml, extra.yaml")
    profiles = _text("Profiles", "By commas; only services of these, and those of none, are started.")

    def wanted(self) -> Wanted:
        """The project as the service takes it."""
        given = self.cleaned_data
        return Wanted(
            given["name"],
            self.kind,
            given.get("place", ""),
            given.get("branch", ""),
            given.get("inner", ""),
            _listed(given["compose_files"]),
            _listed(given["profiles"]),
        )

    def secret(self) -> Secret | None:
        given = self.cleaned_data.get("token")
        return Secret(given) if given else None

    def blame(self, refused: InputInvalid) -> None:
        """Show a refusal at the fields that it names."""
        for name, sentence in refused.fields.items():
            field = self.called.get(name, name)
            self.add_error(field if field in self.fields else None, sentence)

    @property
    def places(self) -> list[forms.BoundField]:
        """The fields of this kind alone."""
        return [self[name] for name in self.fields if name not in ProjectForm.base_fields]


class GitForm(ProjectForm):
    """A repository that Git reads."""

    kind, title, hint = ProjectKind.GIT, "Git repository", "A branch of it, fetched on demand or on push."
    called: ClassVar[dict[str, str]] = {"file": "compose_files", "git": "place"}

    place = _text("Address", required=True, example="https://git.example.org/shop.git")
    branch = _text("Branch or tag", "Empty: the repository's own default.", example="main")
    inner = _text("Folder inside", "Where the Compose file is, if not at the top.", example="deploy")
    token = _token()


def _small_enough(found: UploadedFile[Any]) -> None:
    if (found.size or 0) > MOST_UPLOAD:
        raise forms.ValidationError(f"It is larger than {MOST_UPLOAD >> 20} MiB.")


class UploadForm(ProjectForm):
    """A file from the reader's own machine."""

    kind, title, hint = ProjectKind.UPLOAD, "Upload", "One Compose file, or a zip or tar archive of a project."

    upload = forms.FileField(
        label="File",
        help_text=f"At most {MOST_UPLOAD >> 20} MiB; `stacks add --upload` takes more.",
        widget=forms.FileInput(attrs={"accept": ".yaml,.yml,.zip,.tar,.tgz,.gz,.bz2,.xz"}),
        validators=[_small_enough],
    )


class FolderForm(ProjectForm):
    """A folder of the engine's host."""

    kind, title, hint = ProjectKind.FOLDER, "Folder", "A folder of the server, copied from there."
    called: ClassVar[dict[str, str]] = {"file": "compose_files", "folder": "place"}

    place = _text("Folder", required=True, example="/srv/shop")

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as every form
        super().__init__(*args, **kwargs)
        roots = " or ".join(map(str, settings.PROJECT_ROOTS))
        self.fields["place"].help_text = f"Its whole path, below {roots}."


KINDS: tuple[type[ProjectForm], ...] = (GitForm, UploadForm, FolderForm)


def form_of(kind: str) -> type[ProjectForm]:
    """The form of that kind; the first one for any other word."""
    return next((form for form in KINDS if form.kind == kind), KINDS[0])


class UpdateForm(forms.Form):
    """A new version of an uploaded project, or none where it is fetched."""

    upload = UploadForm.base_fields["upload"]


class TokenForm(forms.Form):
    """New credentials for a project's Git repository."""

    token = _token()


class RemoveForm(forms.Form):
    """What goes with a stack that is removed."""

    name = forms.CharField(max_length=60)
    keep_running = forms.BooleanField(required=False)
    with_data = forms.BooleanField(required=False)

    @property
    def params(self) -> dict[str, bool]:
        """The parameters of the operation."""
        given = self.cleaned_data
        # Data of containers that go on could not be removed.
        return {"stop": not given["keep_running"] or given["with_data"], "data": given["with_data"]}


def _listed(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
