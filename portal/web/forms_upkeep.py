"""The form of how a repository is looked after."""

from __future__ import annotations

from django import forms

from portal.vaults.care import MOST_PARTS, Care
from portal.vaults.models import Repository

GIB = 2**30
_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class CareForm(forms.Form):
    """What an operator can say about it; `care()` is what the service takes."""

    check_parts = forms.IntegerField(
        label="Everything is read in so many checks",
        help_text="Each check reads the next slice of the data.",
        min_value=1,
        max_value=MOST_PARTS,
    )
    copy_to = forms.ChoiceField(
        label="Second repository", help_text="Every complete set is copied there.", required=False
    )
    capacity_gib = forms.IntegerField(
        label="Capacity, GiB",
        help_text="What the provider grants. A folder is asked for its disk instead.",
        min_value=0,
        required=False,
    )
    prune_url = forms.CharField(
        label="Address for pruning",
        help_text="Of an append-only repository: the same data, where removing is allowed.",
        max_length=500,
        required=False,
        widget=forms.TextInput(attrs=_PLAIN),
    )
    prune_credentials = forms.CharField(
        label="Credentials for that address",
        help_text="NAME=VALUE lines. Empty: those that are there stay.",
        required=False,
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 3}),
    )

    def __init__(self, data: object = None, *, row: Repository) -> None:
        super().__init__(
            data,  # type: ignore[arg-type]
            initial={
                "check_parts": row.check_parts,
                "copy_to": row.copy_to.name if row.copy_to else "",
                "capacity_gib": row.capacity_bytes // GIB if row.capacity_bytes else None,
                "prune_url": row.prune_url,
            },
        )
        others = Repository.objects.filter(replaced_by=None).exclude(pk=row.pk).order_by("name")
        copy_to = self.fields["copy_to"]
        assert isinstance(copy_to, forms.ChoiceField)
        copy_to.choices = [("", "none"), *((other.name, other.name) for other in others)]
        if row.is_local:
            del self.fields["capacity_gib"]
        if not row.append_only:
            del self.fields["prune_url"], self.fields["prune_credentials"]

    def care(self) -> Care:
        given = self.cleaned_data
        return Care(
            copy_to=given["copy_to"],
            check_parts=given["check_parts"],
            capacity_bytes=(given["capacity_gib"] or 0) * GIB if "capacity_gib" in given else None,
            prune_url=given.get("prune_url"),
            prune_credentials=given.get("prune_credentials") or None,
        )
