"""The forms that add a further source, one for each kind."""

from __future__ import annotations

from typing import Any, cast

from django import forms

from backups.secret import Secret
from portal.vaults.models import SourceKind
from portal.vaults.sources import SourceFields

_TEXT = {"autocomplete": "off", "spellcheck": "false"}


class SourceForm(forms.Form):
    """What every kind asks for. `kind` and `title` say which it is."""

    kind = ""
    title = ""
    name = forms.SlugField(
        label="Name", max_length=40, help_text="What you call it, e.g. wiki: small letters, digits, - and _."
    )

    def __init__(self, data: Any = None) -> None:  # noqa: ANN401 - request.POST or nothing
        super().__init__(data, auto_id=f"{self.kind}-%s")

    def values(self) -> SourceFields:
        """The cleaned fields as the service takes them."""
        found = {name: value for name, value in self.cleaned_data.items() if name != "name"}
        if "password" in found:
            found["password"] = Secret(found["password"]) if found["password"] else None
        return cast(SourceFields, found)


class FolderForm(SourceForm):
    """A folder or mounted volume."""

    kind, title = SourceKind.FOLDER, "A folder or volume"
    path = forms.CharField(
        label="Path",
        max_length=500,
        widget=forms.TextInput(attrs=_TEXT),
        help_text="Whole path on the machine that backs up, e.g. /srv/wiki.",
    )
    mountpoint = forms.BooleanField(
        required=False, label="A disk or share is mounted there: refuse to back up without it"
    )
    may_be_empty = forms.BooleanField(required=False, label="It may be empty")


class ServerForm(SourceForm):
    """What is reached at an address; an empty one is the stack's own server."""

    host = forms.CharField(
        required=False,
        label="Server",
        max_length=253,
        widget=forms.TextInput(attrs=_TEXT),
        help_text="Host name or address; empty for the stack's own.",
    )
    port = forms.IntegerField(required=False, label="Port", min_value=1, max_value=65535)
    password = forms.CharField(
        required=False,
        label="Password",
        max_length=500,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Kept in a file that only this account reads.",
    )


class DatabaseForm(ServerForm):
    """A Postgres database."""

    kind, title = SourceKind.POSTGRES, "A Postgres database"
    database = forms.CharField(label="Database", max_length=63, widget=forms.TextInput(attrs=_TEXT))
    role = forms.CharField(
        required=False,
        label="Role",
        max_length=63,
        widget=forms.TextInput(attrs=_TEXT),
        help_text="May read all of it.",
    )
    field_order = ("name", "database", "host", "port", "role", "password")


class RedisForm(ServerForm):
    """A Redis or Valkey server."""

    kind, title = SourceKind.REDIS, "Redis"


FORMS: dict[str, type[SourceForm]] = {form.kind: form for form in (FolderForm, DatabaseForm, RedisForm)}
