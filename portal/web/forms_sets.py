"""Forms of the pages about backup sets."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from portal.operations.errors import OperationRefused
from portal.vaults.models import BackupSet, SetState
from portal.vaults.setlist import Choices, SetFilter
from portal.vaults.sets import NOTE_LENGTH, TAGS, tag_read

_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class FilterForm(forms.Form):
    """What the list of sets is narrowed to; part of the address, so that it can be kept and sent."""

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "Note or id", **_PLAIN}),
    )
    state = forms.ChoiceField(label="State", required=False)
    tag = forms.ChoiceField(label="Tag", required=False)
    stack = forms.ChoiceField(label="Stack", required=False)
    repository = forms.ChoiceField(label="Repository", required=False)
    plan = forms.ChoiceField(label="Plan", required=False)
    day = forms.DateField(label="Day", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    pinned = forms.BooleanField(label="Pinned only", required=False)
    removed = forms.BooleanField(label="Removed ones, as history", required=False)

    def __init__(self, data: Any, choices: Choices) -> None:  # noqa: ANN401 - a QueryDict
        super().__init__(data)
        self._offer("state", list(SetState.values))
        self._offer("tag", choices.tags)
        self._offer("stack", choices.stacks)
        self._offer("repository", choices.repositories)
        self._offer("plan", choices.plans)

    def _offer(self, name: str, values: list[str]) -> None:
        self._offered(name).choices = [("", "Any"), *((value, value) for value in values)]

    def _many(self, name: str) -> bool:
        choices = self._offered(name).choices
        return isinstance(choices, list) and len(choices) > 2

    def _offered(self, name: str) -> forms.ChoiceField:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        return field

    @property
    def shown(self) -> list[forms.BoundField]:
        """The selects that have something to choose from; what is chosen stays visible."""
        names = ("state", "tag", "stack", "repository", "plan")
        return [self[name] for name in names if self._many(name) or self[name].value()]

    def wanted(self) -> SetFilter:
        """The filter; a value that makes no sense does not narrow, its field says why."""
        self.is_valid()
        found = dict(self.cleaned_data)
        return SetFilter(
            text=found.get("q", "").strip(),
            pinned=found.get("pinned", False),
            removed=found.get("removed", False),
            day=found.get("day"),
            **{name: found.get(name, "") for name in ("stack", "repository", "plan", "state", "tag")},
        )


class NoteForm(forms.Form):
    """Tags, separated by commas, and the note of a set."""

    tags = forms.CharField(
        label="Tags",
        required=False,
        max_length=1000,
        help_text="Separated by commas.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    note = forms.CharField(
        label="Note", required=False, max_length=NOTE_LENGTH, widget=forms.Textarea(attrs={"rows": 3})
    )

    def clean_tags(self) -> list[str]:
        words = [word for word in re.split(r"[,\n]", self.cleaned_data["tags"]) if word.strip()]
        try:
            tags = sorted({tag_read(word) for word in words})
        except OperationRefused as refused:
            raise ValidationError(f"{refused.message} {refused.remedy}") from None
        if len(tags) > TAGS:
            raise ValidationError(f"A set has at most {TAGS} tags, these are {len(tags)}. Remove some.")
        return tags


class DeleteForm(forms.Form):
    """Confirmation of a deletion: the id of the set."""

    name = forms.CharField(label="Type the id of the set to confirm", widget=forms.TextInput(attrs=_PLAIN))

    def __init__(self, data: Any, found: BackupSet) -> None:  # noqa: ANN401 - a QueryDict or None
        super().__init__(data)
        self._found = found

    def clean_name(self) -> str:
        if self.cleaned_data["name"] != self._found.pk:
            raise ValidationError(f"That is not the id of the set. Type {self._found.pk} to delete it.")
        return str(self._found.pk)
