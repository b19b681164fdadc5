"""Secrets of projects: whoever is given one hands it over, and the worker alone keeps and reads it.

A value travels in a file that is gone once it was taken; the queue, which is written to disk, learns its name only.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from django.conf import settings

from portal.operations.asking import by_worker
from portal.operations.errors import OperationFailed
from portal.runtime.compose.record import write_private

PATIENCE_SECONDS = 15.0
# The credentials of a Git repository, the secret of a webhook, and settings that wait for the next deploy.
GIT, HOOK, PENDING = "git", "hook", "pending"
KINDS = (GIT, HOOK, PENDING)


def secret_folder() -> Path:
    """Where secrets of projects are; nobody but the worker sees what is in it."""
    return _private(Path(settings.VAR_DIR) / "control" / "secrets" / "projects")


def secret_file(stack: str, kind: str) -> Path:
    """The file of one of them, whether it is there or not."""
    return secret_folder() / f"{stack}.{kind}"


def handed_folder() -> Path:
    """Where those who show pages put what is for the worker."""
    return _private(Path(settings.VAR_DIR) / "control" / "pending" / "handed")


def hand_over(text: str) -> Path:
    """Put a text there for the worker; whoever takes it removes it."""
    path = handed_folder() / secrets.token_hex(16)
    write_private(path, text)
    return path


def taken(name: str) -> str:
    """The text that was handed over under this name; the file is gone afterwards.

    Raises:
        OperationFailed: there is none.
    """
    path = handed_folder() / Path(name).name
    try:
        if path.is_symlink():
            raise FileNotFoundError
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise OperationFailed("What was handed over is not there any more.", code="not_handed") from None
    path.unlink()
    return text


def secret_keep(*, stack: str, kind: str, text: str) -> None:
    """Have the worker keep a secret of a project instead of the one before.

    Raises:
        OperationFailed: it did not; nothing was kept.
    """
    handed = hand_over(text)
    try:
        _keep(stack=stack, kind=kind, handed=handed.name)
    finally:
        handed.unlink(missing_ok=True)


@by_worker(patience=PATIENCE_SECONDS)
def _keep(*, stack: str, kind: str, handed: str) -> None:
    if kind not in KINDS or Path(stack).name != stack:
        raise OperationFailed(f"{kind} is no secret of a project.", code="not_handed")
    write_private(secret_file(stack, kind), taken(handed))


def forget_all(stack: str) -> None:
    """Remove every secret of a project that was removed."""
    for kind in KINDS:
        secret_file(stack, kind).unlink(missing_ok=True)


def _private(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
