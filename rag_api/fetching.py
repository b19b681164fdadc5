"""Has the model server fetch the models that this service is set to use."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from rag_api.settings import SettingsError

# A large model takes its time on a slow line.
FETCH_SECONDS = 3600.0


class FetchError(Exception):
    """The model server cannot provide a model; the message says which and why."""


def fetch_models(environ: Mapping[str, str]) -> list[str]:
    """Pull those of EMBED_MODEL and CHAT_MODEL that the server at OLLAMA_URL does not have; returns their names.

    Raises:
        SettingsError: one of the three is not set.
        FetchError: the server does not answer, or cannot fetch a model.
    """
    for name in ("OLLAMA_URL", "EMBED_MODEL", "CHAT_MODEL"):
        if not environ.get(name, "").strip():
            raise SettingsError(f"{name} is not set; compose/stack.yaml shows what it should be")
    url = environ["OLLAMA_URL"].rstrip("/")
    try:
        with httpx.Client(base_url=url, timeout=FETCH_SECONDS, trust_env=False) as client:
            known = {model["name"] for model in client.get("/api/tags").raise_for_status().json()["models"]}
            missing = [
                model
                for model in (environ["EMBED_MODEL"], environ["CHAT_MODEL"])
                if not known & {model, f"{model}:latest"}
            ]
            for model in missing:
                _pull(client, model)
    except httpx.HTTPError as error:
        raise FetchError(f"The model server at {url} does not answer as it should: {error}") from None
    return missing


def _pull(client: httpx.Client, model: str) -> None:
    answer = client.post("/api/pull", json={"model": model, "stream": False})
    told = answer.json()
    if answer.status_code != 200 or told.get("error"):
        raise FetchError(f"The model {model} cannot be fetched: {told.get('error', answer.status_code)}")
