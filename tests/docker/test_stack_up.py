"""The whole stack on Docker: healthy, reachable through nginx alone, cut off from the outside, and it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import outside
from tests.support.docker_stack import CONFINED, SECRETS, START_SECONDS, DockerStack, confinement
from tests.support.servers import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

LASTING = ("postgres", "redis", "vectordb", "ollama", "api", "ingest", "frontend", "nginx")
FACT = b"The lighthouse of Utsira is lit at half past nine in the evening."
QUESTION = "When is the lighthouse of Utsira lit?"
READY = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/ready').read().decode())"


def inspected(stack: DockerStack) -> dict[str, dict[str, Any]]:
    return {service: stack.container(service) for service in (*LASTING, "stores", "models")}


def reached(stack: DockerStack, service: str, *addresses: str) -> list[str]:
    """Those of these `host:port` that a connection from inside a container reaches."""
    code = (
        "import socket, sys, concurrent.futures as f\n"
        "def reach(address):\n"
        "    host, port = address.split(':')\n"
        "    try: socket.create_connection((host, int(port)), timeout=2).close()\n"
        "    except OSError: return ''\n"
        "    return address\n"
        "print(*f.ThreadPoolExecutor().map(reach, sys.argv[1:]))"
    )
    return stack.execute(service, "python", "-c", code, *addresses).stdout.split()


def reached_by_shell(stack: DockerStack, service: str, *addresses: str) -> list[str]:
    """The same where there is no Python: with bash's own sockets."""
    code = (
        'for a in "$@"; do (timeout 2 bash -c "exec 3<>/dev/tcp/${a%:*}/${a#*:}" 2>/dev/null && echo "$a") & done; wait'
    )
    return stack.execute(service, "bash", "-c", code, "bash", *addresses).stdout.split()


def test_every_service_is_healthy_and_what_runs_once_ended_well(stack: DockerStack) -> None:
    found = inspected(stack)
    assert {name: found[name]["State"]["Health"]["Status"] for name in LASTING} == dict.fromkeys(LASTING, "healthy")
    for name in ("stores", "models"):
        assert (found[name]["State"]["Status"], found[name]["State"]["ExitCode"]) == ("exited", 0)


def test_nobody_is_root_and_nothing_can_become_it(stack: DockerStack) -> None:
    for name, found in inspected(stack).items():
        assert confinement(found) == CONFINED, name
    for name in LASTING:
        processes = stack.compose("top", name).stdout.splitlines()[2:]
        assert processes, name
        assert not [line for line in processes if line.split()[:1] in (["root"], ["0"])], name


def test_nothing_can_be_written_beside_the_volumes(stack: DockerStack) -> None:
    for name in ("api", "postgres", "nginx"):
        told = stack.execute(name, "sh", "-c", "echo x > /usr/planted", check=False)
        assert "Read-only file system" in told.stderr, name


def test_only_the_entrance_publishes_ports(stack: DockerStack) -> None:
    published = {name: found["HostConfig"]["PortBindings"] for name, found in inspected(stack).items()}
    assert [name for name, ports in published.items() if ports] == ["nginx"]
    assert {bound[0]["HostIp"] for bound in published["nginx"].values()} == {"127.0.0.1"}


def test_services_reach_each_other(stack: DockerStack) -> None:
    told = stack.execute("api", "python", "-c", READY).stdout
    assert set(json.loads(told)["dependencies"].values()) == {"ok"}
    assert reached(stack, "frontend", "api:8000") == ["api:8000"]


@pytest.mark.skipif(bool(outside.missing()), reason=str(outside.missing()))
def test_only_the_entrance_and_the_model_server_have_a_way_out(stack: DockerStack, tmp_path: Path) -> None:
    with outside.outside(tmp_path) as (address, port):
        there = f"{address}:{port}"
        ways = {name: reached(stack, name, there) for name in ("ollama", "api", "ingest", "frontend", "vectordb")}
        ways |= {name: reached_by_shell(stack, name, there) for name in ("nginx", "postgres", "redis")}
    assert {name for name, way in ways.items() if way} == {"nginx", "ollama"}


def test_what_stands_at_the_edge_reaches_no_store(stack: DockerStack) -> None:
    stores = [
        f"{network['IPAddress']}:{port}"
        for service, port in (("postgres", 5432), ("redis", 6379), ("vectordb", 8000), ("ollama", 11434))
        for network in stack.container(service)["NetworkSettings"]["Networks"].values()
    ]
    assert len(stores) == 5
    assert reached(stack, "frontend", *stores) == []
    assert reached_by_shell(stack, "nginx", *stores) == []
    assert len(reached(stack, "api", *stores)) == 4, "the look finds what can be reached"


def test_no_secret_is_to_be_seen(stack: DockerStack) -> None:
    shown = stack.compose("logs").stdout + json.dumps(list(inspected(stack).values()))
    shown += "".join(stack.compose("top", name).stdout for name in LASTING) + stack.compose("config").stdout
    assert len(shown) > 10_000
    assert [name for name in SECRETS if stack.secret(name) in shown] == []


def test_the_stores_are_prepared(stack: DockerStack) -> None:
    code = (
        "import sqlite3; store = sqlite3.connect('/data/vectors/live/chroma.sqlite3');"
        "print(store.execute('PRAGMA journal_mode').fetchone()[0])"
    )
    assert stack.execute("vectordb", "python", "-c", code).stdout.strip() == "wal"
    assert "at revision" in stack.compose("logs", "api").stdout
    query = "SELECT has_database_privilege('public', 'rag', 'CONNECT')"
    psql = f'PGPASSWORD="$(cat /run/secrets/postgres_password)" psql -h 127.0.0.1 -U rag -tAc "{query}"'
    assert stack.execute("postgres", "sh", "-c", psql).stdout.strip() == "f"
    without = stack.execute("postgres", "psql", "-w", "-h", "127.0.0.1", "-U", "rag", check=False)
    assert "no password supplied" in without.stderr


def test_an_upload_is_answered_through_the_entrance_and_outlives_its_containers(stack: DockerStack) -> None:
    with stack.client() as client:
        document = client.post("/api/documents", files={"file": ("utsira.txt", FACT)}).raise_for_status().json()["id"]
        wait_until(lambda: state(client, document) == "ready", what="the document", seconds=90)
        told = client.post("/api/ask", json={"question": QUESTION}, timeout=300).raise_for_status().json()
        assert told["found"] is True
        assert told["answer"]
        assert told["sources"][0]["document"] == "utsira.txt"
    assert "<html" in httpx.get(stack.url, trust_env=False).text
    anew = ("up", "--detach", "--wait", "--no-build", "--force-recreate", "--timeout", "10")
    stack.compose(*anew, timeout=START_SECONDS)
    with stack.client() as client:
        found = client.post("/api/search", json={"question": QUESTION}).raise_for_status().json()
        assert found["hits"][0]["document"] == "utsira.txt"


def state(client: httpx.Client, document: str) -> str:
    return str(client.get(f"/api/documents/{document}").raise_for_status().json()["state"])


def test_a_service_that_cannot_read_its_secret_says_which(stack: DockerStack) -> None:
    told = stack.compose(
        "run", "--rm", "-T", "--no-deps", "--user", "4242:4242", "--entrypoint", "python", "ingest",
        "-m", "rag_api", "migrate", check=False, RAGKEEP_GID="4343",
    )  # fmt: skip
    assert told.returncode == 2
    assert "POSTGRES_PASSWORD_FILE" in told.stderr
