"""The backup agent as a container beside the stack: a set is made, lost data is brought back, the stack answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from backups.process import Running
from tests.support.docker_stack import START_SECONDS, DockerStack
from tests.support.servers import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

IMAGE = "ragkeep/portal:0.1.0"
STATE = "/var/lib/ragkeep"
VOLUMES = ("documents", "vectors", "models", "index")
# Who holds data that a restore exchanges, and who would write to it meanwhile.
HALTED = ("ingest", "api", "vectordb", "ollama")
FACT = b"The ferry to Hurtigsund leaves at a quarter to six from pier nine."
QUESTION = "When does the ferry to Hurtigsund leave?"
PG_BIN = "from portal.runtime.paths import RuntimePaths as P; print(P.discover().tool('pg_dump').parent)"


def container(stack: DockerStack) -> list[str]:
    """The words that run a program of the portal's image with the stack's volumes, secrets and inner network."""
    mounts = [word for name in VOLUMES for word in ("--volume", f"{stack.project}_{name}:/data/{name}")]
    return [
        "docker", "run", "--rm", "--interactive", "--init", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges:true", "--group-add", stack.environ["RAGKEEP_GID"],
        "--network", f"{stack.project}_backend", *mounts,
        "--volume", f"{stack.project}_portal:{STATE}", "--volume", f"{stack.root / 'secrets'}:/run/secrets:ro", IMAGE,
    ]  # fmt: skip


def job(stack: DockerStack, kind: str, pg_bin: str, set_id: str | None, **options: object) -> dict[str, Any]:
    """A job as the portal would write it for this stack."""
    return {
        "kind": kind,
        "operation": "restore" if kind in ("stage", "swap") else kind,
        "attempt": 1,
        "fence": f"{STATE}/work/fence",
        "work": f"{STATE}/work",
        "tools": {"restic": "/usr/bin/restic", "pg_bin": pg_bin},
        "stack": {
            "name": stack.project,
            "environment": "production",
            "postgres": {
                "host": "postgres",
                "port": 5432,
                "user": "rag",
                "database": "rag",
                "password_file": "/run/secrets/postgres_password",
            },
            "vectordb_url": "http://vectordb:8000",
            "ollama_url": "http://ollama:11434",
            "models": "own",
            "api_url": "http://api:8000",
            "internal_token_file": "/run/secrets/internal_token",
            "volumes": {name: f"/data/{name}" for name in VOLUMES},
            "config": ["/app/compose/stack.yaml"],
            "pullable": [],
            "extra": [],
        },
        "repository": {
            "id": "",
            "url": f"{STATE}/repository",
            "password_file": f"{STATE}/key",
            "credentials_file": None,
            "options": {},
        },
        "set": set_id,
        "options": options,
        "limits": None,
    }


def carry_out(stack: DockerStack, told: Mapping[str, Any]) -> dict[str, Any]:
    """Give the agent one job and return its last line."""
    argv = [*container(stack), "python", "-m", "backups", "agent"]
    with Running(argv, env=stack.engine.environ) as agent:
        agent.send(json.dumps(told) + "\n")
        lines = [json.loads(line) for line in agent.lines()]
        assert lines, agent.stderr
        assert lines[-1]["type"] == "result", (lines[-1], agent.stderr)
        return dict(lines[-1])


def counts(client: httpx.Client) -> dict[str, int]:
    return dict(client.get("/api/documents").raise_for_status().json()["counts"])


def test_a_set_made_in_a_container_brings_lost_data_back(stack: DockerStack) -> None:
    prepare = f'umask 077; mkdir -p {STATE}/work; echo a-key-for-this-test > {STATE}/key; python -c "{PG_BIN}"'
    with Running([*container(stack), "sh", "-c", prepare], env=stack.engine.environ) as preparing:
        (pg_bin,) = preparing.lines()
    with stack.client() as client:
        document = client.post("/api/documents", files={"file": ("ferry.txt", FACT)}).raise_for_status().json()["id"]
        wait_until(lambda: counts(client).get("ready", 0) >= 1, what="the document", seconds=90)
        carry_out(stack, job(stack, "init", pg_bin, None))
        made = carry_out(stack, job(stack, "backup", pg_bin, None))
        assert made["state"] == "complete"
        client.delete(f"/api/documents/{document}").raise_for_status()
        wait_until(lambda: client.get(f"/api/documents/{document}").status_code == 404, what="the removal", seconds=60)
    carry_out(stack, job(stack, "stage", pg_bin, made["set"]))
    stack.compose("stop", *HALTED)
    carry_out(stack, job(stack, "swap", pg_bin, made["set"]))
    stack.compose("up", "--detach", "--wait", "--no-build", timeout=START_SECONDS)
    stack.compose("restart", "nginx")
    wait_until(lambda: answers(stack), what="the entrance", seconds=60)
    with stack.client() as client:
        found = client.post("/api/search", json={"question": QUESTION}).raise_for_status().json()
        assert "ferry.txt" in [hit["document"] for hit in found["hits"]]
        assert FACT in client.get(f"/api/documents/{document}/content").content
    assert carry_out(stack, job(stack, "canary", pg_bin, made["set"]))["state"] == "ok"


def answers(stack: DockerStack) -> bool:
    try:
        return httpx.get(f"{stack.url}/api/me", trust_env=False).status_code == 401
    except httpx.HTTPError:
        return False
