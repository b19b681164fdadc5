"""The forms of deploying and rolling back."""

from __future__ import annotations

from typing import Any

from django import forms

from portal.stacks.deploy import NOTE_LENGTH

CODE, DATA = "code", "data"


class DeployForm(forms.Form):
    """Why, whether a backup is taken first where data is touched, and whether images are fetched anew."""

    note = forms.CharField(
        label="Note", required=False, max_length=NOTE_LENGTH, help_text="Why; it is kept with the release.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )  # fmt: skip
    backup = forms.ChoiceField(
        label="Before it begins",
        required=False,
        choices=[
            ("yes", "Take a backup set. Slower, and the data can come back with a roll-back."),
            ("no", "No backup set. What the release does to the data cannot be undone."),
        ],
        initial="yes",
        widget=forms.RadioSelect,
    )
    pull = forms.BooleanField(required=False)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the operation."""
        given = self.cleaned_data
        chosen = {"backup": False} if given.get("backup") == "no" else {}
        return {"note": given.get("note") or "", **chosen, **({"pull": True} if given.get("pull") else {})}


class RollbackForm(forms.Form):
    """What comes back, and why."""

    what = forms.ChoiceField(label="What comes back", widget=forms.RadioSelect, initial=CODE)
    note = forms.CharField(
        label="Note", required=False, max_length=NOTE_LENGTH, help_text="Why; it is kept with the release.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )  # fmt: skip

    def __init__(self, data: Any, *, code: bool, with_data: bool) -> None:  # noqa: ANN401 - a QueryDict, or None
        super().__init__(data, initial={"what": CODE if code else DATA})
        field = self.fields["what"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            *([(CODE, "The code: file, images and settings of the release. The data stays as it is.")] if code else []),
            *(
                [(DATA, "Code and data: what was added since goes, as in a restore. It can be undone for 72 hours.")]
                if with_data
                else []
            ),
        ]

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the operation, but for the number of the release."""
        given = self.cleaned_data
        return {"data": given["what"] == DATA, "note": given.get("note") or ""}


class CompareForm(forms.Form):
    """Two releases by their numbers."""

    a = forms.TypedChoiceField(label="From release", coerce=int)
    b = forms.TypedChoiceField(label="To release", coerce=int)

    def __init__(self, data: Any, numbers: list[int]) -> None:  # noqa: ANN401 - a QueryDict, or None
        newest = {"a": numbers[1], "b": numbers[0]} if len(numbers) > 1 else {}
        super().__init__(data, initial=newest)
        for name in ("a", "b"):
            field = self.fields[name]
            assert isinstance(field, forms.TypedChoiceField)
            field.choices = [(number, str(number)) for number in numbers]
