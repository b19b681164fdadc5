"""The whole stack on Docker: healthy, reachable through nginx alone, cut off from the outside, and it answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.support import outside
from tests.support.docker_stack import SECRETS, START_SECONDS, DockerStack
from tests.support.servers import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

LASTING = ("postgres", "redis", "vectordb", "ollama", "api", "ingest", "frontend", "nginx")
FACT = b"The lighthouse of Utsira is lit at half past nine in the evening."
QUESTION = "When is the lighthouse of Utsira lit?"
READY = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/ready').read().decode())"


def inspected(stack: DockerStack) -> dict[str, dict[str, Any]]:
    return {service: stack.container(service) for service in (*LASTING, "stores", "models")}


def connects(stack: DockerStack, service: str, host: str, port: int) -> str:
    """`yes`, or the name of the error of a connection from inside a container."""
    code = (
        "import socket,sys,errno\n"
        "try:\n"
        "    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close(); print('yes')\n"
        "except OSError as error:\n"
        "    print(errno.errorcode.get(error.errno, type(error).__name__))\n"
    )
    return stack.execute(service, "python", "-c", code, host, str(port)).stdout.strip()


def test_every_service_is_healthy_and_what_runs_once_ended_well(stack: DockerStack) -> None:
    found = inspected(stack)
    assert {name: found[name]["State"]["Health"]["Status"] for name in LASTING} == dict.fromkeys(LASTING, "healthy")
    for name in ("stores", "models"):
        assert (found[name]["State"]["Status"], found[name]["State"]["ExitCode"]) == ("exited", 0)


def test_nobody_is_root_and_nothing_can_become_it(stack: DockerStack) -> None:
    for name, found in inspected(stack).items():
        host = found["HostConfig"]
        assert not found["Config"]["User"].startswith("0"), name
        assert host["ReadonlyRootfs"] is True, name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert 0 < host["PidsLimit"] <= 500, name
        assert host["Memory"] > 0, name
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
    assert connects(stack, "frontend", "api", 8000) == "yes"


@pytest.mark.skipif(bool(outside.missing()), reason=str(outside.missing()))
def test_only_the_entrance_and_the_model_server_have_a_way_out(stack: DockerStack) -> None:
    with outside.outside() as (address, port):
        # The two that may show that the address can be reached at all.
        assert connects(stack, "ollama", address, port) == "yes"
        assert "Directory" in stack.execute("nginx", "wget", "-T", "3", "-qO-", f"http://{address}:{port}/").stdout
        for name in ("api", "ingest", "frontend", "vectordb"):
            assert connects(stack, name, address, port) != "yes", name
        for name in ("postgres", "redis"):
            told = stack.execute(
                name, "bash", "-c", f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}'", check=False
            )
            assert told.returncode != 0, name


def test_what_stands_at_the_edge_reaches_no_store(stack: DockerStack) -> None:
    for service, port in (("postgres", 5432), ("redis", 6379), ("vectordb", 8000), ("ollama", 11434)):
        networks = stack.container(service)["NetworkSettings"]["Networks"]
        for address in (network["IPAddress"] for network in networks.values()):
            assert connects(stack, "frontend", address, port) != "yes", service
            asked = ("wget", "-T", "2", "-t", "1", "-qO-", f"http://{address}:{port}/")
            assert "Hello" not in (told := stack.execute("nginx", *asked, check=False)).stdout, service
            assert told.returncode == 4, service  # wget's own word for a failure of the network


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
        assert [hit["document"] for hit in found["hits"]] == ["utsira.txt"]


def state(client: httpx.Client, document: str) -> str:
    return str(client.get(f"/api/documents/{document}").raise_for_status().json()["state"])


def test_a_service_that_cannot_read_its_secret_says_which(stack: DockerStack) -> None:
    told = stack.compose(
        "run", "--rm", "-T", "--no-deps", "--user", "4242:4242", "--entrypoint", "python", "ingest",
        "-m", "rag_api", "migrate", check=False, RAGKEEP_GID="4343",
    )  # fmt: skip
    assert told.returncode == 2
    assert "POSTGRES_PASSWORD_FILE" in told.stderr
