"""The portal itself as a source of every set: where its database and its secrets are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection, models

from backups.sources.portal import KIND
from backups.sources.portal import NAME as PORTAL

# Columns that hold an object of settings, whose `..._file` values name files too.
_OBJECTS = ("options", "settings")


def secrets_folder() -> Path:
    """The folder of the portal's secrets."""
    return Path(settings.VAR_DIR) / "control" / "secrets"


def portal_source() -> dict[str, Any]:
    """The portal as a further source of a job."""
    database = connection.settings_dict
    return {
        "name": PORTAL,
        "kind": KIND,
        "postgres": {
            "host": database["HOST"],
            "port": int(database["PORT"]),
            "user": database["USER"],
            "database": database["NAME"],
            "password_file": str(secrets_folder() / "postgres_password"),
        },
        "secrets": str(secrets_folder()),
        "files": sorted(set(named_files())),
        "var": str(settings.VAR_DIR),
    }


def named_files() -> Iterator[str]:
    """Every file that a row of the portal names: passwords, credentials, keys, addresses of channels."""
    for row, columns in _rows():
        for column in columns:
            value = getattr(row, column)
            if isinstance(value, dict):
                yield from (str(path) for name, path in value.items() if name.endswith("_file") and path)
            elif value:
                yield str(value)


def files_moved(place: Callable[[str], str]) -> int:
    """Rewrite every file that a row names by `place`; returns how many rows changed."""
    changed = 0
    for row, columns in _rows():
        before = {column: getattr(row, column) for column in columns}
        after = {column: _moved(value, place) for column, value in before.items()}
        if after != before:
            type(row)._default_manager.filter(pk=row.pk).update(**after)
            changed += 1
    return changed


def _moved(value: Any, place: Callable[[str], str]) -> Any:  # noqa: ANN401 - a text, or an object of settings
    if isinstance(value, dict):
        return {n: place(path) if n.endswith("_file") and path else path for n, path in value.items()}
    return place(value) if value else value


def _rows() -> Iterator[tuple[models.Model, list[str]]]:
    """Every row with columns that name files: they are called `..._file`, here and in the apps above."""
    for model in apps.get_models():
        if not model.__module__.startswith("portal."):
            continue
        fields = [field.name for field in model._meta.concrete_fields]
        named = [name for name in fields if name.endswith("_file") or name in _OBJECTS]
        if named:
            for row in model._default_manager.all():
                yield row, named
