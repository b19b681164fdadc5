"""`python -m rag_api fetch-models`: what containers do in place of `manage.py up`."""

from __future__ import annotations

import os
import sys

import httpx
import pytest

from backups import process
from rag_api.fetching import FetchError, fetch_models
from rag_api.settings import SettingsError
from tests.support.servers import REPO, free_port

pytestmark = pytest.mark.integration


def settings(url: str, chat: str = "smollm2:135m") -> dict[str, str]:
    return {"OLLAMA_URL": url, "EMBED_MODEL": "all-minilm", "CHAT_MODEL": chat}


def test_only_what_is_missing_is_fetched(model_server_url: str) -> None:
    httpx.request("DELETE", f"{model_server_url}/api/delete", json={"model": "all-minilm"}, trust_env=False)
    assert "all-minilm" in fetch_models(settings(model_server_url))
    assert fetch_models(settings(model_server_url)) == []
    names = {one["name"] for one in httpx.get(f"{model_server_url}/api/tags", trust_env=False).json()["models"]}
    assert {"all-minilm:latest", "smollm2:135m"} <= names


def test_a_model_that_nobody_has_is_named(model_server_url: str) -> None:
    with pytest.raises(FetchError, match="The model no-such-model cannot be fetched"):
        fetch_models(settings(model_server_url, chat="no-such-model"))


def test_a_server_that_does_not_answer_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(FetchError, match=f"The model server at {url} does not answer"):
        fetch_models(settings(url))


def test_the_command_needs_three_settings_and_no_secret(model_server_url: str) -> None:
    argv = [sys.executable, "-m", "rag_api", "fetch-models"]
    env = {"PATH": os.environ["PATH"], **settings(model_server_url)}
    assert process.run(argv, env=env, cwd=REPO).stdout.startswith(("Fetched", "Both models are there"))
    told = process.run(argv, env={"PATH": os.environ["PATH"]}, cwd=REPO, check=False)
    assert (told.returncode, "OLLAMA_URL is not set" in told.stderr) == (2, True)
    with pytest.raises(SettingsError, match="CHAT_MODEL is not set"):
        fetch_models({**settings(model_server_url), "CHAT_MODEL": " "})
