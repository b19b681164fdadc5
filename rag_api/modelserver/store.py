"""Ollama's model store: manifests that name blobs.

```
manifests/registry.ollama.ai/library/<model>/<tag>   a Docker manifest (JSON)
blobs/sha256-<hex>                                    what it names
```
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rag_api.modelserver.blobs import PARTIAL, Blobs, sync_folder, write_whole
from rag_api.modelserver.errors import ModelNotFoundError, ModelServerError, ServerBusyError, StoreDamagedError
from rag_api.modelserver.names import ModelName

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
MODEL = "application/vnd.ollama.image.model"
TEMPLATE = "application/vnd.ollama.image.template"
PARAMS = "application/vnd.ollama.image.params"
LICENSE = "application/vnd.ollama.image.license"
ONNX = "application/vnd.ragkeep.image.onnx"
TOKENIZER = "application/vnd.ragkeep.image.tokenizer"

# How long a delete waits for a running pull before the client is told to come back.
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Layer:
    """One blob of a model: media type, `sha256:<hex>`, bytes."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Installed:
    """A model in the store; `digest` is the sha256 (hex) of its manifest, `size` the bytes of all its blobs."""

    name: ModelName
    digest: str
    modified_at: datetime
    config: Layer
    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        return self.config.size + sum(layer.size for layer in self.layers)

    @property
    def digests(self) -> set[str]:
        return {self.config.digest, *(layer.digest for layer in self.layers)}

    @property
    def is_embedder(self) -> bool:
        return any(layer.media_type == ONNX for layer in self.layers)

    def layer(self, media_type: str) -> Layer | None:
        return next((layer for layer in self.layers if layer.media_type == media_type), None)


class Store:
    """A folder in Ollama's layout; it is created when missing."""

    def __init__(self, root: Path) -> None:
        self.manifests = root / "manifests"
        self.blobs = Blobs(root / "blobs")
        for folder in (self.manifests, self.blobs.folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._writing = threading.Lock()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other pulls, copies and deletes out.

        Raises:
            ServerBusyError: another one did not end within 30 s.
        """
        if not self._writing.acquire(timeout=_PATIENCE_SECONDS):
            raise ServerBusyError("another pull, copy or delete is still running; try again when it has ended")
        try:
            yield
        finally:
            self._writing.release()

    def names(self) -> list[ModelName]:
        """All models with a manifest, sorted."""
        found = (path.relative_to(self.manifests).parts for path in self.manifests.glob("*/*/*/*") if path.is_file())
        return sorted(ModelName(*parts) for parts in found)

    def installed(self) -> list[Installed]:
        """All models whose manifest can be read, newest first."""
        models = []
        for name in self.names():
            with contextlib.suppress(ModelServerError):
                models.append(self.get(name))
        return sorted(models, key=lambda model: model.modified_at, reverse=True)

    def get(self, name: ModelName) -> Installed:
        """Read a model's manifest; its blobs are not looked at.

        Raises:
            ModelNotFoundError: no manifest.
            StoreDamagedError: the manifest is not one.
        """
        path = self.manifests / name.path
        try:
            data, modified = path.read_bytes(), path.stat().st_mtime
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ModelNotFoundError(f"model '{name}' not found, try pulling it first") from None
        try:
            return _installed(name, data, datetime.fromtimestamp(modified, UTC))
        except (ValueError, KeyError, TypeError):
            raise StoreDamagedError(
                f"the manifest of model '{name}' is damaged; delete and pull the model again"
            ) from None

    def config(self, model: Installed) -> dict[str, Any]:
        """The model's config blob, verified.

        Raises:
            StoreDamagedError: missing or damaged.
        """
        config: dict[str, Any] = json.loads(self.blobs.read(model.config.digest))
        return config

    def text(self, model: Installed, media_type: str) -> str:
        """The content of a text layer, empty when the model has none."""
        layer = model.layer(media_type)
        return self.blobs.read(layer.digest).decode() if layer else ""

    def publish(self, name: ModelName, config: Layer, layers: list[Layer]) -> None:
        """Write the manifest: from now on the model is in the store. Its blobs must be there already."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        self._write_manifest(name, json.dumps(manifest, separators=(",", ":")).encode())

    def copy(self, source: ModelName, destination: ModelName) -> None:
        """Give a model a second name; blobs are shared.

        Raises:
            ModelNotFoundError: no such source.
        """
        with self.exclusive():
            self.get(source)
            self._write_manifest(destination, (self.manifests / source.path).read_bytes())

    def delete(self, name: ModelName) -> None:
        """Remove a model and the blobs that no other model names.

        Blobs stay while any manifest cannot be read, because nobody knows what it names.

        Raises:
            ModelNotFoundError: no such model.
        """
        with self.exclusive():
            path = self.manifests / name.path
            if not path.is_file():
                raise ModelNotFoundError(f"model '{name}' not found")
            path.unlink()
            sync_folder(path.parent)
            for folder in path.parents[:3]:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            self._prune()

    def _prune(self) -> None:
        try:
            keep = {digest for name in self.names() for digest in self.get(name).digests}
        except StoreDamagedError:
            return
        self.blobs.prune(keep)

    def _write_manifest(self, name: ModelName, data: bytes) -> None:
        path = self.manifests / name.path
        path.parent.mkdir(parents=True, exist_ok=True)
        token = hashlib.sha256(str(name).encode()).hexdigest()[:16]
        write_whole(path, self.blobs.folder / f"manifest-{token}{PARTIAL}", data)


def _layer(entry: dict[str, Any]) -> Layer:
    return Layer(str(entry["mediaType"]), str(entry["digest"]), int(entry["size"]))


def _installed(name: ModelName, data: bytes, modified_at: datetime) -> Installed:
    manifest = json.loads(data)
    layers = tuple(_layer(entry) for entry in manifest["layers"])
    return Installed(name, hashlib.sha256(data).hexdigest(), modified_at, _layer(manifest["config"]), layers)
