"""The further Compose files: what each of them changes, and that it works."""

from __future__ import annotations

import itertools
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from backups import process
from portal.runtime.ports import free_ports
from tests.support import docker_stack
from tests.support.browser import chromium
from tests.support.docker_engine import Engine
from tests.support.docker_stack import FILES, FOLDER, DockerStack
from tests.support.servers import REPO, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]

LASTING = ("postgres", "redis", "vectordb", "ollama", "api", "ingest", "frontend", "nginx")
ASK = (
    "import urllib.request as u\n"
    "try: print(u.urlopen('http://127.0.0.1:8000/health', timeout=2).read().decode())\n"
    "except OSError: pass"
)


def project(engine: Engine, root: Path, *overlays: str, **settings: str) -> DockerStack:
    """A project of stack.yaml and these files; nothing is started."""
    files = (FOLDER / "stack.yaml", *(FOLDER / f"{name}.yaml" for name in overlays))
    return replace(docker_stack.new_stack(engine, root, files=files), settings=settings)


def published(config: dict[str, Any]) -> dict[str, list[tuple[str, int]]]:
    """Service -> (address here, port inside)."""
    return {
        name: [(port["host_ip"], port["target"]) for port in service["ports"]]
        for name, service in config["services"].items()
        if service.get("ports")
    }


def test_development_mounts_the_source_and_opens_the_stores_on_loopback(engine: Engine, tmp_path: Path) -> None:
    found = project(engine, tmp_path, "dev").config()
    for name, folder in (("api", "rag_api"), ("ingest", "rag_api"), ("frontend", "frontend")):
        service = found["services"][name]
        assert service["build"]["target"] == "development", name
        assert str(REPO / folder) in [mount["source"] for mount in service["volumes"]], name
    for name in ("api", "ingest"):
        environment = found["services"][name]["environment"]
        assert (environment["ENVIRONMENT"], environment["LOG_LEVEL"]) == ("development", "DEBUG")
    assert published(found) == {
        "nginx": [("127.0.0.1", 8080), ("127.0.0.1", 8081)],
        "postgres": [("127.0.0.1", 5432)],
        "vectordb": [("127.0.0.1", 8000)],
    }


@pytest.mark.parametrize("overlays", [("production",), ("production", "staging")])
def test_production_lasts_and_sets_memory_aside(engine: Engine, tmp_path: Path, overlays: tuple[str, ...]) -> None:
    found = project(engine, tmp_path, *overlays, RAGKEEP_CERTIFICATES=str(tmp_path)).config()
    assert set(published(found)) == {"nginx"}
    for name in LASTING:
        service = found["services"][name]
        assert service["restart"] == "always", name
        assert service["logging"]["options"] == {"max-size": "50m", "max-file": "5", "compress": "true"}, name
        resources = service["deploy"]["resources"]
        assert int(resources["reservations"]["memory"]) <= int(resources["limits"]["memory"]), name
        assert resources["limits"]["pids"] > 0, name
    assert found["services"]["api"]["environment"]["ENVIRONMENT"] == overlays[-1]


def test_production_asks_for_certificates(engine: Engine, tmp_path: Path) -> None:
    told = project(engine, tmp_path, "production").compose("config", check=False)
    assert told.returncode != 0
    assert "RAGKEEP_CERTIFICATES must name the folder with fullchain.pem and privkey.pem" in told.stderr


def test_a_gpu_is_reserved_for_the_model_server_alone(engine: Engine, tmp_path: Path) -> None:
    found = project(engine, tmp_path, "gpu").config()["services"]
    reserved = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in found.items()
        if "reservations" in service["deploy"]["resources"]
    }
    assert reserved == {"ollama": [{"driver": "nvidia", "count": -1, "capabilities": ["gpu"]}]}


def test_the_authorities_of_a_site_reach_every_build(engine: Engine, tmp_path: Path) -> None:
    found = project(engine, tmp_path, "ca", RAGKEEP_CA="/etc/hosts").config()["services"]
    built = {name: service["build"] for name, service in found.items() if "build" in service}
    assert set(built) == {"stores", "models", "api", "ingest", "frontend"}
    assert {name for name, build in built.items() if [one["source"] for one in build["secrets"]] == ["ca"]} == set(
        built
    )


def test_the_networks_take_the_subnets_they_are_given(engine: Engine, tmp_path: Path) -> None:
    new = project(engine, tmp_path, "subnets", RAGKEEP_SUBNET_BACKEND="10.213.7.0/24")
    found = {name: network["ipam"]["config"][0]["subnet"] for name, network in new.config()["networks"].items()}
    assert found == {
        "edge": "172.30.0.0/24",
        "front": "172.30.1.0/24",
        "backend": "10.213.7.0/24",
        "outlet": "172.30.3.0/24",
    }
    assert new.config()["networks"]["backend"]["internal"] is True


# --- TLS


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 as the overlay wants it, readable for the secrets' group; returns what trusts it."""
    folder.mkdir()
    chain, key = folder / "fullchain.pem", folder / "privkey.pem"
    process.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(chain)]
    )  # fmt: skip
    key.chmod(0o640)
    shutil.chown(key, group=docker_stack.SECRETS_GROUP)
    return chain


@contextmanager
def entrance_of_production(stack: DockerStack, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """The stack's entrance as production has it: https address, http address, certificate."""
    trusted = certificate(folder / "tls")
    (plain,) = free_ports(1)
    settings = {"RAGKEEP_CERTIFICATES": str(trusted.parent), "RAGKEEP_HTTP_PORT": str(plain)}
    changed = replace(stack, files=(*FILES, FOLDER / "production.yaml"), settings=settings)
    replaced = ("up", "--detach", "--wait", "--no-build", "--no-deps", "nginx")
    try:
        changed.compose(*replaced)
        yield stack.url.replace("http:", "https:"), f"http://127.0.0.1:{plain}", trusted
    finally:
        stack.compose(*replaced)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_production_speaks_tls_and_sends_everybody_there(stack: DockerStack, tmp_path: Path) -> None:
    with entrance_of_production(stack, tmp_path) as (secure, plain, trusted):
        context = ssl.create_default_context(cafile=str(trusted))
        with httpx.Client(verify=context, trust_env=False) as client:
            for path in ("/nginx-health", "/api/me", "/"):
                told = client.get(secure + path)
                assert told.headers["strict-transport-security"] == "max-age=31536000", path
            moved = client.get(f"{plain}/chat?a=1")
            assert (moved.status_code, moved.headers["location"]) == (301, "https://127.0.0.1/chat?a=1")
            port = stack.portal_port
            assert client.get(f"{secure}/portal/").headers["location"] == f"https://127.0.0.1:{port}/"
    with httpx.Client(trust_env=False) as client:
        assert "strict-transport-security" not in client.get(f"{stack.url}/nginx-health").headers


# --- development


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the images are built from, to edit."""
    copy = tmp_path_factory.mktemp("checkout")
    copy.chmod(0o755)
    for name in ("backups", "compose", "config", "frontend", "portal", "rag_api", "requirements"):
        shutil.copytree(REPO / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".dockerignore", "manage.py"):
        shutil.copy2(REPO / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def development(images: Engine, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerStack]:
    files = tuple(checkout / "compose" / name for name in ("stack.yaml", "offline.yaml", "dev.yaml"))
    docker_stack.build(images, "api", "frontend", files=files)
    store, vectors = free_ports(2)
    settings = {"RAGKEEP_DEV_POSTGRES_PORT": str(store), "RAGKEEP_DEV_VECTORDB_PORT": str(vectors)}
    new = docker_stack.new_stack(images, tmp_path_factory.mktemp("dev"), files=files)
    with docker_stack.started(replace(new, settings=settings)) as up:
        yield up


def assert_served(path: Path, texts: tuple[str, ...], served: Callable[[str], bool]) -> None:
    """Write one text after the other into a file, in place of the last, and wait until each is served.

    How long that took stands in the test's output (`pytest -rP`): on a machine that is left alone it is a few seconds.
    """
    for old, new in itertools.pairwise(texts):
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} in {path.name}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        begun = time.monotonic()
        wait_until(partial(served, new), what=f"the edited {path.name}", seconds=60)
        print(f"{path.name}: served after {time.monotonic() - begun:.1f} s")  # noqa: T201 - a figure to be read


def test_the_stores_answer_on_loopback(development: DockerStack) -> None:
    vectors = development.settings["RAGKEEP_DEV_VECTORDB_PORT"]
    assert httpx.get(f"http://127.0.0.1:{vectors}/api/v2/heartbeat", trust_env=False).status_code == 200
    with psycopg.connect(
        host="127.0.0.1",
        port=development.settings["RAGKEEP_DEV_POSTGRES_PORT"],
        user="rag",
        dbname="rag",
        password=development.secret("postgres_password"),
    ) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_an_edit_to_the_service_is_served(development: DockerStack, checkout: Path) -> None:
    texts = ('{"status": "ok"}', '{"status": "edited"}', '{"status": "edited again"}', '{"status": "ok"}')

    def served(text: str) -> bool:
        told = development.execute("api", "python", "-c", ASK).stdout
        return told.split() == text.replace(": ", ":").split()

    assert_served(checkout / "rag_api" / "routes" / "health.py", texts, served)


def test_an_edit_to_the_chat_is_served(development: DockerStack, checkout: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto(development.url)
        page.get_by_role("button", name="Sign in").wait_for(timeout=60_000)
        texts = (">Sign in<", ">Come in<", ">Enter<", ">Sign in<")
        button = page.locator("button[type=submit]")
        assert_served(checkout / "frontend" / "forms.py", texts, lambda text: button.inner_text() == text[1:-1])


def test_combinations_of_files_are_valid(engine: Engine, tmp_path: Path) -> None:
    overlays = ("offline", "dev", "production", "staging", "gpu", "ca", "subnets")
    for number, chosen in enumerate(itertools.combinations(overlays, 2)):
        settings = {"RAGKEEP_CERTIFICATES": "/etc", "RAGKEEP_CA": "/etc/hosts"}
        assert project(engine, tmp_path / str(number), *chosen, **settings).config()["name"].startswith("test-"), chosen
