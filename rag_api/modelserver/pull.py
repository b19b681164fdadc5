"""Pull: copy a packaged model into the store, with Ollama's progress lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rag_api.modelserver.blobs import digest_of
from rag_api.modelserver.names import ModelName
from rag_api.modelserver.packaged import Packaged, Part
from rag_api.modelserver.store import CONFIG, Layer, Store

Status = dict[str, Any]


def pull(store: Store, name: ModelName, packaged: Packaged) -> Iterator[Status]:
    """Copy layer by layer, then the manifest; stopped half-way it leaves `-partial` files and goes on next time.

    Raises:
        StoreDamagedError: a copy did not have its checksum.
        ServerBusyError: another pull or delete holds the store.
    """
    with store.exclusive():
        yield {"status": "pulling manifest"}
        parts = [(part, _layer_of(part)) for part in packaged.parts()]
        for part, layer in parts:
            yield from _pull_layer(store, part, layer)
        layers = [layer for _, layer in parts]
        config = _write_config(store, packaged, layers)
        yield {"status": "verifying sha256 digest"}
        for layer in layers:
            store.blobs.verify(layer.digest)
        yield {"status": "writing manifest"}
        store.publish(name, config, layers)
    yield {"status": "success"}


def _layer_of(part: Part) -> Layer:
    with part.open() as stream:
        digest, size = digest_of(stream)
    return Layer(part.media_type, digest, size)


def _pull_layer(store: Store, part: Part, layer: Layer) -> Iterator[Status]:
    progress = {"status": f"pulling {layer.digest[7:19]}", "digest": layer.digest, "total": layer.size}
    if store.blobs.is_intact(layer.digest):
        yield {**progress, "completed": layer.size}
        return
    with part.open() as source:
        for done in store.blobs.write(source, layer.digest):
            yield {**progress, "completed": done}


def _write_config(store: Store, packaged: Packaged, layers: list[Layer]) -> Layer:
    rootfs = {"type": "layers", "diff_ids": [layer.digest for layer in layers]}
    data = json.dumps({**packaged.config(), "rootfs": rootfs}).encode()
    return Layer(CONFIG, store.blobs.write_bytes(data), len(data))
