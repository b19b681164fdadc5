"""The models that a client may name, by what they do.

`ragkeep` answers from the documents. The chat model of the installation is offered by itself too: programs on top of
this one have it name chats and word searches, which would only be looked up in the documents otherwise. Not the tiny
one that comes along, though: it can copy from passages and knows nothing, so that whoever chose it from a list by
mistake would be given inventions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from rag_api.openai.errors import RequestRefusedError
from rag_api.settings import Settings

DOCUMENTS: Final = "ragkeep"
_TINY = "smollm2:135m"


class Use(StrEnum):
    """What a model is asked for."""

    ANSWERS = "answers"
    PLAIN = "plain"
    EMBEDDINGS = "embeddings"


def offered(settings: Settings) -> dict[str, Use]:
    """The models by name, the one that answers from the documents first."""
    models = {DOCUMENTS: Use.ANSWERS}
    if not settings.chat_model.startswith(_TINY):
        models.setdefault(settings.chat_model, Use.PLAIN)
    models.setdefault(settings.embed_model, Use.EMBEDDINGS)
    return models


def model_use(settings: Settings, name: str, *allowed: Use) -> Use:
    """What the model of this name is for.

    Raises:
        RequestRefusedError: 404, there is no such model, or none for what is `allowed`.
    """
    models = offered(settings)
    # Ollama's names mean `latest` when they name no version.
    use = models.get(name) or models.get(name.removesuffix(":latest")) or models.get(f"{name}:latest")
    if use is None or (allowed and use not in allowed):
        fitting = ", ".join(known for known, use in models.items() if not allowed or use in allowed)
        message = f"There is no model {name[:200]} for this here. There is: {fitting}."
        raise RequestRefusedError("model", message, status=404, code="model_not_found")
    return use


def description(name: str) -> dict[str, Any]:
    """A model as OpenAI's clients expect it; when it was made nobody here knows."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "ragkeep"}
