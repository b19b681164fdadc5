"""A set taken without Docker comes back in containers, and the other way round: the way up from a trial, and down."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from backups import process
from tests.support.docker_product import DockerProduct
from tests.support.product import Product, installation, settled, upload
from tests.support.servers import REPO, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

TRIAL = "The chapel of Borgund keeps its spare key in the rectory of Lærdal."
GROWN = "The tower of Ringebu was painted red in the spring of 1630."


def put_in(api: httpx.Client, name: str, text: str, *, ready: int) -> None:
    with api:
        upload(api, {name: text.encode()})
        settled(api, ready)


def names(api: httpx.Client) -> set[str]:
    with api:
        return {one["name"] for one in api.get("/api/documents", params={"limit": 100}).json()["documents"]}


def finds(api: httpx.Client, question: str) -> str:
    with api:
        found = api.post("/api/search", json={"question": question}).raise_for_status().json()
    return str(found["hits"][0]["document"])


def handed_over(source: Product, target: Product, name: str) -> None:
    """Give one installation the other's repository, as an operator would: a copy of the folder, and its password."""
    folder = target.var / "repositories" / name
    shutil.copytree(source.var / "repositories" / "default", folder)
    owner = folder.parent.stat().st_uid
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, owner)
    password = (source.var / "control" / "secrets" / "repository_password").read_text()
    words = [sys.executable, str(REPO / "manage.py"), "repositories", "add", name, str(folder), "--password-file", "-"]
    process.run(words, env=target.env, stdin=password, timeout=300)


def adopted(product: Product, set_id: str) -> Any:  # noqa: ANN401 - decoded JSON
    """Wait until the installation knows the set of another one."""

    def known() -> bool:
        told = json.loads(product.manage("sets", "list", "--json").stdout)
        return set_id in [one["set_id"] for one in told["sets"]]

    wait_until(known, what="the adopted set", seconds=120)


def test_a_trial_moves_into_containers_and_back(product: DockerProduct, tmp_path: Path) -> None:
    with installation() as trial:
        trial.json("up", "--port", str(trial.port))
        put_in(trial.api(), "chapel.md", TRIAL, ready=2)
        # Accounts come with the data.
        password = trial.secret("admin_password")
        taken = trial.json("backup")["set_id"]
        handed_over(trial, product, "trial")
        adopted(product, taken)
        restored = product.json("restore", "--set", taken, "--to-stack", product.name, "--yes", "--no-safety")
        assert restored["state"] == "kept"
        assert restored["canary"]["passed"] is True
        assert "chapel.md" in names(product.api(password=password))
        assert finds(product.api(password=password), "Where is the spare key of Borgund?") == "chapel.md"
        put_in(product.api(password=password), "tower.md", GROWN, ready=3)
        grown = product.json("backup")["set_id"]
        assert product.json("restore", "--undo", "--yes")["state"] == "undone"
        assert "chapel.md" not in names(product.api())
        handed_over(product, trial, "grown")
        adopted(trial, grown)
        back = trial.json("restore", "--set", grown, "--to-stack", "rag", "--yes", "--no-safety")
        assert back["canary"]["passed"] is True
        assert {"chapel.md", "tower.md"} <= names(trial.api())
        assert finds(trial.api(), "When was the tower of Ringebu painted?") == "tower.md"
