"""Models that a set names and does not hold: those that are live, unchanged, come along into the staged store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from backups.manifest import Model
from backups.restore.exchange import link_or_copy, sync_folder
from backups.sources import models


def keep(wanted: Iterable[Model], live: Path, staging: Path) -> list[str]:
    """Give models of the live store a place in the staged one, blobs before the manifest that names them.

    Returns:
        Names of those that are not live as the set had them: somebody has to pull them again.
    """
    absent = []
    for model in wanted:
        if not _is_live(model, live):
            absent.append(model.name)
            continue
        for blob in model.blobs:
            _link(models.blob_path(live, blob), models.blob_path(staging, blob))
        _link(live / model.manifest, staging / model.manifest)
    return absent


def _is_live(model: Model, live: Path) -> bool:
    """Whether the manifest is the one that the set names, and every blob is there in its full size."""
    try:
        content = (live / model.manifest).read_bytes()
    except OSError:
        return False
    return f"sha256:{hashlib.sha256(content).hexdigest()}" == model.digest and models.present(model, live)


def _link(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    link_or_copy(source, place)
    sync_folder(place.parent)
