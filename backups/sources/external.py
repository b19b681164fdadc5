"""Models of a server that is no part of the stack: a set names them, so that one knows what it was made with."""

from __future__ import annotations

import httpx

from backups.errors import SourceMissing
from backups.fields import Fields
from backups.manifest import ExternalModel

PATIENCE_SECONDS = 10.0


def read_models(url: str) -> tuple[ExternalModel, ...]:
    """What the server at `url` offers, sorted by name.

    Raises:
        SourceMissing: it does not answer, or not as a model server does.
    """
    try:
        answer = httpx.get(f"{url.rstrip('/')}/api/tags", timeout=PATIENCE_SECONDS, trust_env=False)
        told = Fields(answer.raise_for_status().json(), "tags", SourceMissing)
    except (httpx.HTTPError, ValueError) as error:
        raise SourceMissing(f"the model server at {url} does not answer: {error}") from None
    return tuple(sorted(map(ExternalModel.read, told.sections("models")), key=lambda model: model.name))
