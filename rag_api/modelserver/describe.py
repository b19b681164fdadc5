"""Models as `/api/tags`, `/api/show` and `/api/ps` describe them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from rag_api.modelserver.errors import ModelServerError
from rag_api.modelserver.gguf import read_header
from rag_api.modelserver.pool import Loaded
from rag_api.modelserver.store import LICENSE, MODEL, PARAMS, TEMPLATE, Installed, Store


def listed(store: Store, model: Installed) -> dict[str, Any]:
    """An entry of `/api/tags`; a damaged config leaves the details empty but the model listed."""
    config: dict[str, Any] = {}
    with contextlib.suppress(ModelServerError):
        config = store.config(model)
    return {
        "name": str(model.name),
        "model": str(model.name),
        "modified_at": model.modified_at.isoformat(),
        "size": model.size,
        "digest": model.digest,
        "details": _details(config),
    }


def shown(store: Store, model: Installed) -> dict[str, Any]:
    """The answer of `/api/show`.

    Raises:
        StoreDamagedError: one of its blobs is missing or damaged.
    """
    config = store.config(model)
    template, parameters = store.text(model, TEMPLATE), _parameters(store, model)
    info, capability = dict(config.get("model_info", {})), "embedding"
    if layer := model.layer(MODEL):
        header = read_header(store.blobs.verify(layer.digest))
        info, capability = {**header.metadata, "general.parameter_count": header.parameters}, "completion"
    return {
        "license": store.text(model, LICENSE),
        "modelfile": f"FROM {model.name}\n" + (f'TEMPLATE """{template}"""\n' if template else ""),
        "parameters": parameters,
        "template": template,
        "details": _details(config),
        "model_info": info,
        "capabilities": [capability],
        "modified_at": model.modified_at.isoformat(),
    }


def running(store: Store, loaded: Loaded) -> dict[str, Any]:
    """An entry of `/api/ps`; `size` is the resident memory of the model's process."""
    entry = listed(store, loaded.model)
    del entry["modified_at"]
    return {
        **entry,
        "size": loaded.memory,
        "size_vram": 0,
        "context_length": loaded.context,
        "expires_at": loaded.expires_at.isoformat(),
    }


def _parameters(store: Store, model: Installed) -> str:
    values: dict[str, Any] = json.loads(store.text(model, PARAMS) or "{}")
    pairs = [(name, one) for name, value in values.items() for one in (value if isinstance(value, list) else [value])]
    return "\n".join(f"{name:<30} {json.dumps(value)}" for name, value in pairs)


def _details(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": config.get("model_format", ""),
        "family": config.get("model_family", ""),
        "families": config.get("model_families", []),
        "parameter_size": config.get("model_type", ""),
        "quantization_level": config.get("file_type", ""),
    }
