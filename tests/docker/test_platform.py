"""Portal and stack as containers, from one command to a restore: what a person does, and what nobody may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from backups.process import ProcessError
from tests.support.docker_product import DockerProduct
from tests.support.docker_stack import CONFINED, confinement
from tests.support.product import settled, upload
from tests.support.servers import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

PORTAL = ("database", "queue", "dockerproxy", "web", "worker", "beat")
STACK = ("postgres", "redis", "vectordb", "ollama", "api", "ingest", "frontend", "nginx")
FACT = "The windmill of Ulefoss grinds spelt on the first Tuesday of every month."
QUESTION = "When does the windmill of Ulefoss grind spelt?"
# What listens in the two projects and is nobody's business outside of them.
INTERNAL = {"database": 5432, "queue": 6379, "dockerproxy": 2375, "postgres": 5432, "redis": 6379, "vectordb": 8000,
            "ollama": 11434, "ingest": 8001}  # fmt: skip
ASK = (
    "import http.client, sys\n"
    "method, path, *headers = sys.argv[1:]\n"
    "line = http.client.HTTPConnection('dockerproxy', 2375, timeout=10)\n"
    "line.putrequest(method, path, skip_accept_encoding=True)\n"
    "[line.putheader(*header.split(':')) for header in headers]\n"
    "line.endheaders()\n"
    "answer = line.getresponse()\n"
    "print(answer.status, answer.read().decode(errors='replace'))"
)
REACH = (
    "import concurrent.futures as f, socket, sys\n"
    "def reach(address):\n"
    "    host, port = address.rsplit(':', 1)\n"
    "    try: socket.create_connection((host, int(port)), timeout=2).close()\n"
    "    except OSError: return ''\n"
    "    return address\n"
    "print(*f.ThreadPoolExecutor().map(reach, sys.argv[1:]))"
)


def test_one_command_starts_everything_and_proves_the_first_backup(product: DockerProduct) -> None:
    first = product.first
    assert (first["healthy"], first["drill"]) == (True, "passed")
    assert first["set_id"]
    assert first["portal_url"] == f"http://127.0.0.1:{product.port + 1}"
    assert len(first["admin"]["password"]) >= 16
    assert httpx.get(f"{first['portal_url']}/sign-in/", trust_env=False).status_code == 200
    assert "<html" in httpx.get(first["chat_url"], trust_env=False).text


def test_a_second_start_changes_nothing(product: DockerProduct) -> None:
    before = product.json("sets")["sets"]
    again = product.json("up", timeout=300)
    assert (again["changed"], again["set_id"]) == ({}, before[0]["set_id"])
    assert product.json("sets")["sets"] == before
    assert "password" not in again["admin"], "it is shown once"


def test_every_service_is_healthy_and_known(product: DockerProduct) -> None:
    told = product.json("status")
    assert told["healthy"] is True
    named = {group: [one["service"] for one in found] for group, found in told["services"].items()}
    assert named == {product.portal: list(PORTAL), product.name: list(STACK)}
    assert "ready" in product.manage("logs", f"{product.portal}/worker").stdout


def test_verbs_of_the_portal_are_carried_out_inside(product: DockerProduct) -> None:
    made = product.json("backup")
    assert made["state"] == "complete"
    assert made["set_id"] in [one["set_id"] for one in product.json("sets")["sets"]]
    refused = product.manage("restore", "--set", "none", "--yes", "--json", check=False)
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (1, "no_set")


def test_a_shell_is_had_in_any_service(product: DockerProduct) -> None:
    assert product.manage("sh", "api", "id", "-u").stdout.strip() == "1000"
    assert product.manage("sh", "worker", "sh", "-c", "exit 7", check=False).returncode == 7
    told = product.manage("sh", "nobody", check=False)
    assert "there is no service nobody" in told.stderr


def test_what_was_lost_comes_back(product: DockerProduct) -> None:
    with product.api() as api:
        document = upload(api, {"windmill.md": FACT.encode()})["windmill.md"]
        settled(api, 2)
        made = product.json("backup")
        api.delete(f"/api/documents/{document}").raise_for_status()
        wait_until(lambda: api.get(f"/api/documents/{document}").status_code == 404, what="the removal", seconds=60)
    restored = product.json("restore", "--set", made["set_id"], "--yes")
    assert restored["state"] == "kept"
    with product.api() as api:
        found = api.post("/api/search", json={"question": QUESTION}).raise_for_status().json()
        assert found["hits"][0]["document"] == "windmill.md"
        assert api.get(f"/api/documents/{document}/content").content == FACT.encode()
    undone = product.json("restore", "--undo", "--yes")
    assert undone["state"] == "undone"
    with product.api() as api:
        assert api.get(f"/api/documents/{document}").status_code == 404
    assert agents(product) == []


def agents(product: DockerProduct) -> list[str]:
    """Containers of agents that are still there."""
    return product.docker("ps", "--all", "--quiet", "--filter", f"label=ragkeep.agent={product.portal}").split()


def test_a_stopped_stack_keeps_its_entrance(product: DockerProduct) -> None:
    product.json("stop")
    chat = httpx.get(product.url, trust_env=False)
    assert (chat.status_code, "Back in a moment" in chat.text) == (503, True)
    portal = f"http://127.0.0.1:{product.port + 1}"
    assert httpx.get(f"{portal}/sign-in/", trust_env=False).status_code == 200
    product.json("stop", "--all")
    with pytest.raises(httpx.TransportError):
        httpx.get(product.url, trust_env=False)
    direct = f"http://127.0.0.1:{product.port + 2}/sign-in/"
    assert httpx.get(direct, trust_env=False).status_code == 200, "the portal's own port stays"
    product.json("up", timeout=400)
    assert httpx.get(product.url, trust_env=False).status_code == 200


# Security


def everything(product: DockerProduct) -> dict[str, dict[str, Any]]:
    return {**product.containers(product.portal), **product.containers(product.name)}


def test_nobody_is_root_and_nothing_can_become_it(product: DockerProduct) -> None:
    for name, found in everything(product).items():
        assert confinement(found) == CONFINED, name
        if found["State"]["Running"]:
            rows = [line.split() for line in product.docker("top", found["Id"], "-eo", "pid,uid").splitlines()[1:]]
            assert rows, name
            assert [row for row in rows if row[1] == "0"] == [], name


def test_only_the_worker_and_the_reader_have_the_engine(product: DockerProduct) -> None:
    having = {
        name
        for name, found in everything(product).items()
        if any("docker.sock" in mount["Destination"] for mount in found["Mounts"])
    }
    assert having == {"worker", "dockerproxy"}


def test_the_process_that_shows_pages_can_only_ask(product: DockerProduct) -> None:
    database = product.containers(product.name)["api"]["Id"]

    def asked(method: str, path: str, *headers: str) -> tuple[int, str]:
        status, _, body = product.execute(product.portal, "web", "python", "-c", ASK, method, path, *headers).partition(
            " "
        )
        return int(status), body

    assert asked("GET", "/containers/json")[0] == 200
    status, told = asked("GET", f"/containers/{database}/json")
    assert (status, json.loads(told)["Config"]["Env"]) == (200, [])
    assert product.containers(product.name)["api"]["Config"]["Env"], "there was something to leave out"
    for method, path, *headers in (
        ("POST", f"/containers/{database}/stop"),
        ("POST", f"/containers/{database}/exec"),
        ("POST", "/containers/create"),
        ("DELETE", f"/containers/{database}"),
        ("PUT", f"/containers/{database}/archive?path=/tmp"),
        ("GET", f"/containers/{database}/archive?path=/run/secrets"),
        ("GET", f"/containers/{database}/attach/ws?stream=1&stdin=1"),
        ("GET", f"/containers/{database}/export"),
        ("GET", f"/containers/{database}/top"),
        ("GET", f"//containers/{database}/archive?path=/run/secrets"),
        ("GET", f"/containers/{database}/logs/../archive?path=/run/secrets"),
        ("GET", f"/containers/{database}/%61rchive?path=/run/secrets"),
        ("GET", f"/v1.41/../containers/{database}/archive?path=/run/secrets"),
        ("GET", f"/containers/{database}/json", "Connection:Upgrade", "Upgrade:tcp"),
        ("GET", "/info"),
        ("GET", "/secrets"),
    ):
        assert asked(method, path, *headers)[0] in (400, 403), (method, path)
    assert product.containers(product.name)["api"]["State"]["Running"] is True


def test_pages_do_not_see_the_secrets_of_the_stack(product: DockerProduct) -> None:
    for folder in (product.stack / "secrets", product.stack / "compose" / "secrets"):
        assert product.execute(product.portal, "worker", "ls", str(folder)).split(), "the worker has them"
        assert product.execute(product.portal, "web", "ls", str(folder)).split() == []
    find = f"grep -rlF {product.secret('internal_token')} {product.var}"
    assert product.execute(product.portal, "web", "sh", "-c", f"{find} 2>/dev/null || true").split() == []
    assert product.execute(product.portal, "web", "ls", str(product.var / "control" / "secrets" / "releases")) == ""
    for name in ("stacks/x", f"stacks/{product.name}/project/x", "control/runtime.json", "control/state.json", "x"):
        with pytest.raises(ProcessError):
            product.execute(product.portal, "web", "sh", "-c", f"echo x > {product.var}/{name}")


def test_no_internal_port_answers_outside(product: DockerProduct) -> None:
    inside = everything(product)
    addresses = [address for name, port in INTERNAL.items() for _, address in inside_of(inside[name], port)]
    assert len(addresses) >= len(INTERNAL)
    published = {
        name: sorted(binding["HostPort"] for found in ports.values() for binding in found)
        for name, one in inside.items()
        if (ports := {key: found for key, found in one["NetworkSettings"]["Ports"].items() if found})
    }
    base = product.port
    assert published == {"nginx": [str(base), str(base + 1)], "web": [str(base + 2)]}
    edge = f"{product.name}_edge"
    image = inside["worker"]["Config"]["Image"]
    # Whoever gets into the entrance's own network reaches none of them; nor does the chat.
    words = ["run", "--rm", "--network", edge, "--entrypoint", "python", image, "-c", REACH, *addresses]
    assert product.docker(*words).split() == []
    assert product.execute(product.name, "frontend", "python", "-c", REACH, *addresses).split() == []
    reached = product.execute(product.portal, "worker", "python", "-c", REACH, *addresses).split()
    assert len(reached) >= 2, "the look finds what can be reached"


def inside_of(container: dict[str, Any], port: int) -> list[tuple[str, str]]:
    """Each network of a container with the address it has there."""
    networks = container["NetworkSettings"]["Networks"]
    return [(name, f"{network['IPAddress']}:{port}") for name, network in networks.items()]


def test_a_planted_secret_is_nowhere_to_be_seen(product: DockerProduct) -> None:
    marks = {path.name: path.read_text().strip() for path in secret_files(product)}
    assert {"postgres_password", "internal_token", "repository_password", "django_secret_key"} <= {*marks}
    product.json("backup")
    shown = json.dumps(everything(product)) + product.docker("ps", "--all", "--no-trunc")
    for found in everything(product).values():
        shown += product.docker("logs", found["Id"])
        if found["State"]["Running"]:
            shown += product.docker("top", found["Id"], "-eo", "pid,args")
    shown += product.manage("releases", "--json").stdout + product.manage("sets", "--json").stdout
    shown += rendered(product) + product.execute(product.portal, "worker", "python", "-c", DUMP)
    assert len(shown) > 50_000
    assert [name for name, value in marks.items() if value in shown] == []


DUMP = (
    "import os, django; django.setup()\n"
    "from django.apps import apps\n"
    "skip = {'session', 'user'}\n"
    "print([list(m._default_manager.values()) for m in apps.get_models() if m._meta.model_name not in skip])"
)


def secret_files(product: DockerProduct) -> list[Path]:
    folders = (product.stack / "secrets", product.var / "control" / "secrets")
    return [path for folder in folders for path in folder.iterdir() if path.is_file() and path.suffix != ".shown"]


def rendered(product: DockerProduct) -> str:
    """What is kept of the deployed stack beside the database."""
    kept = [path for path in product.var.rglob("*") if path.is_file() and "secrets" not in path.parts]
    texts = [path for path in kept if path.suffix in (".json", ".yaml", ".conf", ".txt")]
    assert texts
    return "".join(path.read_text(errors="replace") for path in texts)
