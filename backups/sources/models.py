"""Ollama's model store: `manifests/<registry>/<namespace>/<name>/<tag>` name blobs `blobs/sha256-<hex>`.

A blob's file name is its checksum, so blobs are stored straight from the live store; only the manifests are staged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from backups.errors import SourceEmpty, SourceMissing, SourceUnreadable
from backups.manifest import Blob, Model


def check(store: Path) -> None:
    """Return when the store holds at least one model.

    Raises:
        SourceMissing, SourceEmpty
    """
    if not store.is_dir():
        raise SourceMissing(f"the model store {store} is not there")
    if next(_manifest_files(store), None) is None:
        raise SourceEmpty(f"the model store {store} holds no model")


def take_manifests(store: Path) -> dict[str, bytes]:
    """Path below the store -> content of every manifest. Small and fast: meant for the freeze."""
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in _manifest_files(store)}


def read_models(manifests: dict[str, bytes]) -> list[Model]:
    """What the manifests name, sorted by name.

    Raises:
        SourceUnreadable: a manifest is not one.
    """
    return sorted((_model(path, content) for path, content in manifests.items()), key=lambda model: model.name)


def present(model: Model, store: Path) -> bool:
    """Whether the store holds every blob of a model in its full size."""
    return all(_size(blob_path(store, blob)) == blob.bytes for blob in model.blobs)


def blob_path(store: Path, blob: Blob) -> Path:
    return store / "blobs" / blob.file_name


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _manifest_files(store: Path) -> Iterator[Path]:
    for path in sorted((store / "manifests").rglob("*")):
        if path.is_file() and "-partial" not in path.name:
            yield path


def _model(path: str, content: bytes) -> Model:
    registry_and_name = path.removeprefix("manifests/").split("/")
    name, tag = "/".join(registry_and_name[-3:-1]).removeprefix("library/"), registry_and_name[-1]
    try:
        value = json.loads(content)
        parts = [*([value["config"]] if value.get("config") else []), *value["layers"]]
        blobs = {str(part["digest"]): int(part["size"]) for part in parts}
    except (ValueError, KeyError, TypeError):
        raise SourceUnreadable(f"the model manifest {path} cannot be read", "Pull that model again.") from None
    return Model(
        name=f"{name}:{tag}",
        manifest=path,
        digest="sha256:" + hashlib.sha256(content).hexdigest(),
        blobs=tuple(Blob(digest, size) for digest, size in blobs.items()),
    )
