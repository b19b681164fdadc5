"""The forms of a restore: what, where to and how; then the name of the stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from backups.restore.scope import CONFIG, DOCUMENTS, POSTGRES
from portal.operations.errors import OperationRefused
from portal.operations.registry import kind_get
from portal.stacks.models import Stack
from portal.vaults.models import BackupSet
from portal.vaults.restore_choice import EXACT, MERGE, STACK, held_sources
from portal.web.words import plain_name

WHOLE, SOURCES, SINGLE, LOST = "whole", "sources", "documents", "lost"
STAY, BACK = "stay", "back"
_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class ChoiceForm(forms.Form):
    """What is restored, where to, and how. Every field may be left out: then the whole set comes back exactly."""

    what = forms.ChoiceField(
        label="What",
        required=False,
        choices=[
            (WHOLE, "The whole set: documents, vectors, database and models"),
            (SOURCES, "Chosen sources"),
            (SINGLE, "Single documents"),
            (LOST, "Lost files: those the stack's database lists and its folder lacks"),
        ],
        widget=forms.RadioSelect,
    )
    sources = forms.MultipleChoiceField(
        label="Sources", required=False, widget=forms.CheckboxSelectMultiple,
        help_text="Documents and postgres belong together. Without vectors the stack derives them again, which takes "
        "longer. Configuration and further sources come to a folder only.",
    )  # fmt: skip
    documents = forms.CharField(
        label="Names of the documents", required=False, max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 4, **_PLAIN}), help_text="One in each line, as it was uploaded.",
    )  # fmt: skip
    where = forms.ChoiceField(
        label="Where to",
        required=False,
        choices=[("stack", "Into a stack"), ("folder", "To a folder on the portal's machine; nothing is stopped")],
        widget=forms.RadioSelect,
    )
    stack = forms.ChoiceField(label="Stack", required=False)
    folder = forms.CharField(
        label="Folder", required=False, max_length=400, widget=forms.TextInput(attrs=_PLAIN),
        help_text="An absolute path that is empty or does not exist yet.",
    )  # fmt: skip
    mode = forms.ChoiceField(
        label="What was added since the set",
        required=False,
        choices=[
            (EXACT, "Goes: the stack is exactly as the set has it. What goes stays in the kept data."),
            (MERGE, "Stays: documents, accounts and knowledge bases added since join the set, and are taken in again."),
        ],
        widget=forms.RadioSelect,
    )
    deleted = forms.ChoiceField(
        label="Documents that were deleted since the set",
        required=False,
        choices=[(STAY, "Stay deleted"), (BACK, "Come back")],
        widget=forms.RadioSelect,
    )
    safety = forms.ChoiceField(
        label="Before the restore",
        required=False,
        choices=[
            ("yes", "Take a safety set first. Slower by one backup, and nothing of today is lost."),
            ("no", "No safety set. Faster; what is newer than the set is gone for good once the restore is kept."),
        ],
        widget=forms.RadioSelect,
    )

    def __init__(self, data: Any, found: BackupSet) -> None:  # noqa: ANN401 - a QueryDict, or None
        super().__init__(data, initial=_initial(found))
        self._set = found
        self._offer("sources", [(name, plain_name(name).capitalize()) for name in held_sources(found)])
        stacks = {found.stack, *Stack.objects.values_list("name", flat=True)}
        self._offer("stack", [(name, name) for name in sorted(stacks)])

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    def clean(self) -> dict[str, Any]:
        """Have the operation itself say what does not go together."""
        given: dict[str, Any] = {**(super().clean() or {})}
        self.cleaned_data = given
        if given.get("what") == SOURCES and not given.get("sources"):
            self.add_error("sources", "Choose at least one source.")
        if given.get("what") == SINGLE and not self.names:
            self.add_error("documents", "Name at least one document.")
        if given.get("what") == LOST and given.get("where") == "folder":
            self.add_error("where", "Lost files go back into a stack; choose sources or documents for a folder.")
        if self.errors:
            return given
        try:
            kind_get(self.kind).check(self.target, self.params)
        except OperationRefused as refused:
            raise ValidationError(f"{refused.message} {refused.remedy}".strip()) from None
        return given

    @property
    def names(self) -> list[str]:
        return [line.strip() for line in str(self.cleaned_data.get("documents", "")).splitlines() if line.strip()]

    @property
    def kind(self) -> str:
        """The operation that does it."""
        if self.cleaned_data.get("where") == "folder":
            return "restore.folder"
        return "restore.documents" if self.cleaned_data.get("what") in (SINGLE, LOST) else "restore"

    @property
    def exchanges(self) -> bool:
        """Whether data of a stack is exchanged, so that its name has to be typed."""
        return self.kind == "restore"

    @property
    def stack_name(self) -> str:
        return str(self.cleaned_data.get("stack") or self._set.stack)

    @property
    def target(self) -> str:
        return f"{STACK}{self.stack_name}"

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the operation; what was not said is left to it."""
        given = self.cleaned_data
        params: dict[str, Any] = {"set": self._set.pk}
        if given.get("what") == SOURCES:
            params["sources"] = list(given["sources"])
        if given.get("what") == SINGLE:
            params["documents"] = self.names
        if self.kind == "restore.folder":
            return {**params, "folder": given.get("folder", "")}
        if self.kind == "restore.documents":
            return {**params, **({"lost": True} if given.get("what") == LOST else {})}
        params["safety"] = given.get("safety") != "no"
        if given.get("mode"):
            params["mode"] = given["mode"]
        if given.get("deleted"):
            params["keep_deleted"] = given["deleted"] == STAY
        return params

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """What was chosen, for the form that confirms it."""
        found: list[tuple[str, str]] = []
        for name in self.fields:
            values = self.cleaned_data.get(name)
            found += [(name, str(value)) for value in (values if isinstance(values, list) else [values]) if value]
        return found


class NameForm(forms.Form):
    """Confirmation by the name of the stack."""

    name = forms.CharField(label="Type the name of the stack to confirm", widget=forms.TextInput(attrs=_PLAIN))

    def __init__(self, data: Any, stack: str) -> None:  # noqa: ANN401 - a QueryDict, or None
        super().__init__(data)
        self._stack = stack

    def clean_name(self) -> str:
        if self.cleaned_data["name"] != self._stack:
            raise ValidationError(f"That is not the name of the stack. Type {self._stack} to restore into it.")
        return self._stack


def _initial(found: BackupSet) -> dict[str, Any]:
    held = held_sources(found)
    return {
        "what": WHOLE,
        "sources": [name for name in held if name != CONFIG] if {DOCUMENTS, POSTGRES} <= set(held) else [],
        "where": "stack",
        "stack": found.stack,
        "folder": str(Path(settings.VAR_DIR) / "restored" / found.pk),
        "mode": EXACT,
        "deleted": STAY,
        "safety": "yes",
    }
