"""The forms of repositories: what people type for each kind of place, as an address and what it takes to reach it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms

from backups.access import Access
from backups.place import LOCAL, REST, S3, SFTP, Address
from backups.secret import Secret
from portal.vaults.models import Repository

_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
LONGEST_KEY = 20_000


def _text(label: str, hint: str = "", *, required: bool = True, example: str = "") -> forms.CharField:
    widget = forms.TextInput(attrs={**_PLAIN, "placeholder": example})
    return forms.CharField(label=label, help_text=hint, required=required, max_length=400, widget=widget)


def _secret(label: str, hint: str = "", *, required: bool = False) -> forms.CharField:
    widget = forms.PasswordInput(attrs={**_PLAIN, "autocomplete": "new-password"})
    return forms.CharField(label=label, help_text=hint, required=required, max_length=1000, widget=widget, strip=False)


def _area(label: str, hint: str) -> forms.CharField:
    widget = forms.Textarea(attrs={**_PLAIN, "rows": 4, "class": "mono"})
    return forms.CharField(label=label, help_text=hint, required=False, max_length=LONGEST_KEY, widget=widget)


class PlaceForm(forms.Form):
    """What every kind has. `kind`, `title` and `hint` are for the page; `url` and `access` for the service.

    With `known` only how to reach it is asked for: a repository keeps its name and password.
    """

    kind: ClassVar[str] = LOCAL
    title: ClassVar[str] = "Folder"
    hint: ClassVar[str] = "A disk of its own, or a mounted share."

    name = _text("Name", "Letters, digits, - and _. It stays.", example="offsite")
    password = _secret(
        "Password of the repository",
        "Only when one is there already: it is adopted with all it holds. Empty: a new password is made.",
    )
    append_only = forms.BooleanField(label="Append-only: the credential may add and read, not remove", required=False)

    def __init__(self, data: Any = None, *, known: Repository | None = None) -> None:  # noqa: ANN401 - a QueryDict
        super().__init__(data, initial=self._initial(known) if known else None)
        if known:
            for name in ("name", "password", "create_bucket"):
                self.fields.pop(name, None)
            for name in self.kept:
                self.fields[name].required = False
                self.fields[name].help_text = "Empty: it stays as it is."

    def _initial(self, known: Repository) -> dict[str, Any]:
        return {"append_only": known.append_only, **self.taken_apart(Address.read(known.url), known.options)}

    @staticmethod
    def taken_apart(address: Address, options: Mapping[str, Any]) -> dict[str, Any]:
        """The values of this kind's own fields for a known repository; secrets are not shown again."""
        return {"folder": address.path}

    @property
    def places(self) -> list[forms.BoundField]:
        """The fields of this kind alone."""
        return [self[name] for name in self.fields if name not in PlaceForm.base_fields]

    def url(self) -> str:
        return str(self.cleaned_data["folder"])

    def access(self) -> Access:
        return Access()

    def secret(self) -> Secret | None:
        given = self.cleaned_data.get("password")
        return Secret(given) if given else None

    def blame(self, message: str, remedy: str) -> None:
        """Show a refusal at the field that it names, else above the form."""
        at, _, said = message.partition(": ")
        field = self.credentials_at if at == "credentials" else at
        text = f"{said if field in self.fields else message}. {remedy}".replace("..", ".").strip()
        self.add_error(field if field in self.fields else None, text[:1].upper() + text[1:])

    credentials_at: ClassVar[str] = ""
    # What a known repository keeps when the field is left empty.
    kept: ClassVar[tuple[str, ...]] = ()


class FolderForm(PlaceForm):
    """A folder of this machine."""

    folder = _text(
        "Folder", "Not on the disk that holds the data: a broken disk would take both.", example="/mnt/backup"
    )


class StoreForm(PlaceForm):
    """A bucket of an object store."""

    kind, title, hint = S3, "Object store", "Anything that speaks S3: a bucket here or at a provider."
    credentials_at = "key"
    kept = ("key", "secret_key", "ca_certificate")

    endpoint = _text("Address", "Begins with https:// or http://", example="https://s3.example")
    bucket = _text("Bucket", example="backups")
    inside = _text("Folder in the bucket", required=False, example="ragkeep")
    key = _text("Access key")
    secret_key = _secret("Secret of the key", required=True)
    region = _text("Region", "Only where the store has regions.", required=False)
    ca_certificate = _area("Certificate of your own authority", "Only when its certificate is not a public one.")
    create_bucket = forms.BooleanField(label="Make the bucket when it is missing", required=False)

    def url(self) -> str:
        given = self.cleaned_data
        parts = (given["endpoint"].rstrip("/"), given["bucket"].strip("/"), given["inside"].strip("/"))
        return "s3:" + "/".join(part for part in parts if part)

    def access(self) -> Access:
        given = self.cleaned_data
        credentials = {"AWS_ACCESS_KEY_ID": given["key"], "AWS_SECRET_ACCESS_KEY": given["secret_key"]}
        return Access(
            credentials={name: value for name, value in credentials.items() if value},
            region=given["region"],
            ca_certificate=given["ca_certificate"],
        )

    @staticmethod
    def taken_apart(address: Address, options: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "endpoint": address.endpoint,
            "bucket": address.bucket,
            "inside": address.path,
            "region": options.get("region", ""),
        }


class SftpForm(PlaceForm):
    """A folder on an SFTP server."""

    kind, title, hint = SFTP, "SFTP server", "Any machine that you can sign in to with SSH."

    kept = ("private_key", "host_key")

    host = _text("Server", example="nas.example")
    port = forms.IntegerField(label="Port", min_value=1, max_value=65535, initial=22)
    account = _text("Account", example="backup")
    folder = _text("Folder on the server", example="/srv/ragkeep")
    private_key = _area(
        "Private key", "Without a passphrase, made for this alone. Its public half belongs on the server."
    )
    host_key = _text(
        "Fingerprint of the server's key",
        "Leave it empty the first time: you are shown what the server says, to compare it.",
        required=False,
        example="SHA256:...",
    )

    def url(self) -> str:
        given = self.cleaned_data
        host = f"[{given['host']}]" if ":" in given["host"] else given["host"]
        return f"sftp://{given['account']}@{host}:{given['port']}/{given['folder']}"

    def access(self) -> Access:
        given = self.cleaned_data
        return Access(private_key=given["private_key"], host_key=given["host_key"])

    @staticmethod
    def taken_apart(address: Address, options: Mapping[str, Any]) -> dict[str, Any]:
        port = options.get("port") or address.port
        return {"host": address.host, "port": port, "account": address.user, "folder": address.path}


class RestForm(PlaceForm):
    """A server of restic's REST protocol."""

    kind, title, hint = REST, "REST server", "restic's own rest-server, or rclone serve restic."
    credentials_at = "user"
    kept = ("user", "user_password", "ca_certificate")

    address = _text("Address", "With the name of the repository.", example="https://backup.example:8000/ragkeep/")
    user = _text("User", required=False)
    user_password = _secret("Password of the user")
    ca_certificate = _area("Certificate of your own authority", "Only when its certificate is not a public one.")

    def url(self) -> str:
        return "rest:" + str(self.cleaned_data["address"])

    def access(self) -> Access:
        given = self.cleaned_data
        names = {"RESTIC_REST_USERNAME": given["user"], "RESTIC_REST_PASSWORD": given["user_password"]}
        return Access(credentials=names if given["user"] else {}, ca_certificate=given["ca_certificate"])

    @staticmethod
    def taken_apart(address: Address, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"address": f"{address.endpoint}{address.path}"}


FORMS: dict[str, type[PlaceForm]] = {form.kind: form for form in (FolderForm, StoreForm, SftpForm, RestForm)}
