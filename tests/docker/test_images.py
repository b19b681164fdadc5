"""Our images: both targets build, nobody in them is root, and production has nothing to build with."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support import docker_engine
from tests.support.docker_engine import Engine
from tests.support.docker_stack import BUILD_SECONDS
from tests.support.servers import REPO

# Building an image for the first time downloads hundreds of megabytes.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(2 * BUILD_SECONDS)]

OWN = {
    "rag-api": {"rag_api"},
    "frontend": {"frontend"},
    "portal": {"backups", "compose", "config", "manage.py", "portal"},
}
STAND_INS = {"postgres:18": 999, "redis:8": 999, "chroma:1.5.9": 1000, "ollama:0.1.0": 1000, "nginx:1.26": 101}
BUILD_TOOLS = "gcc cc g++ clang make cmake ld rustc cargo git"
# As the worker has it: nothing is writable but a folder in memory.
FETCH = """
git init --quiet --initial-branch live /tmp/from
git -C /tmp/from -c user.name=a -c user.email=a@example.org commit --quiet --allow-empty --message first
python -c 'from pathlib import Path; from portal.stacks.projects.git import clone
print(clone("file:///tmp/from", "live", Path("/tmp/here")))'
git -C /tmp/from rev-parse HEAD; id -u
"""


def run(engine: Engine, image: str, *argv: str, check: bool = True) -> str:
    """The output of a program in a container of its own."""
    program, *words = argv
    return engine.docker("run", "--rm", "--network", "none", "--entrypoint", program, image, *words, check=check).stdout


def configuration(engine: Engine, image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(engine.docker("image", "inspect", image).stdout)
    return dict(found[0]["Config"])


@pytest.fixture(scope="module", params=sorted(OWN))
def development(request: pytest.FixtureRequest, images: Engine) -> str:
    """The development image of each of ours, built by hand as docs/how-to/docker.md says."""
    name, tag = request.param, f"ragkeep/{request.param}:development"
    authorities = docker_engine.authorities()
    secret = ["--secret", f"id=ca,src={authorities}"] if authorities else []
    images.docker(
        "buildx", "build", "--target", "development", "--network", "host", *secret, "--load",
        "--build-arg", f"PYTHON_IMAGE={docker_engine.BASE_IMAGE}",
        "--file", REPO / "compose" / "images" / name / "Dockerfile", "--tag", tag, REPO,
        timeout=BUILD_SECONDS,
    )  # fmt: skip
    return tag


def test_development_runs_unprivileged_and_checks_its_health(images: Engine, development: str) -> None:
    assert configuration(images, development)["User"] == "1000:1000"
    assert configuration(images, development)["Healthcheck"]["Test"][0] == "CMD"
    assert run(images, development, "id", "-u").strip() == "1000"


@pytest.mark.parametrize("name", sorted(OWN))
def test_production_holds_the_program_and_nothing_else_of_ours(images: Engine, name: str) -> None:
    image = f"ragkeep/{name}:0.1.0"
    assert set(run(images, image, "ls", "-A", "/app").split()) == OWN[name]
    assert configuration(images, image)["User"] == "1000:1000"
    assert configuration(images, image)["Healthcheck"]["Test"][0] == "CMD"
    assert run(images, image, "id", "-u").strip() == "1000"
    assert run(images, image, "find", "/app", "-name", "*secret*", "-not", "-name", "*.py*").strip() == ""


@pytest.mark.parametrize("image", [*(f"{name}:0.1.0" for name in sorted(OWN)), *STAND_INS])
def test_production_has_no_build_tools_and_keeps_no_build_secret(images: Engine, image: str) -> None:
    found = run(images, f"ragkeep/{image}", "sh", "-c", f"for tool in {BUILD_TOOLS}; do command -v $tool; done; true")
    # The portal follows stacks that lie in Git.
    assert found.split() == (["/usr/bin/git"] if image.startswith("portal:") else [])
    assert run(images, f"ragkeep/{image}", "sh", "-c", "ls /run/secrets /tmp 2>/dev/null; true").split() in (
        [],
        ["/tmp:"],
    )
    interpreter = "test ! -e /opt/venv/bin/python || ! /opt/venv/bin/python -c 'import pip' 2>/dev/null"
    run(images, f"ragkeep/{image}", "sh", "-c", interpreter)


@pytest.mark.parametrize(("image", "uid"), STAND_INS.items())
def test_a_stand_in_has_the_account_of_the_official_image(images: Engine, image: str, uid: int) -> None:
    assert run(images, f"ragkeep/{image}", "id", "-u").strip() == str(uid)


def test_the_portal_image_carries_the_agent_and_its_tools(images: Engine) -> None:
    image = "ragkeep/portal:0.1.0"
    version = re.search(r"restic (\d+)\.(\d+)", run(images, image, "restic", "version"))
    assert version
    assert (int(version[1]), int(version[2])) >= (0, 17)
    found = (
        "from portal.runtime.paths import RuntimePaths as P; p = P.discover();"
        "print(p.tool('restic'), p.tool('pg_dump'), p.tool('pg_restore'), p.tool('chroma'))"
    )
    assert "None" not in run(images, image, "python", "-c", found)
    dump = "from portal.runtime.paths import RuntimePaths as P; print(P.discover().tool('pg_dump'))"
    path = run(images, image, "python", "-c", dump).strip()
    assert "PostgreSQL) 18" in run(images, image, path, "--version")
    assert "agent" in run(images, image, "python", "-m", "backups", "--help")
    assert "ssh" in run(images, image, "sh", "-c", "command -v ssh")


def test_the_portal_image_runs_the_command_line_and_knows_its_schema(images: Engine) -> None:
    assert "Usage" in run(images, "ragkeep/portal:0.1.0", "python", "-m", "config.cli.main", "status", "--help")
    schema = "import os; os.environ['DJANGO_SETTINGS_MODULE']='config.settings.check'; import django; django.setup()"
    run(images, "ragkeep/portal:0.1.0", "python", "-c", schema)


def test_the_portal_image_fetches_a_git_repository_as_its_user(images: Engine) -> None:
    words = ["run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
    told = images.docker(*words, "ragkeep/portal:0.1.0", "sh", "-ec", FETCH)
    fetched, made, user = told.stdout.split()
    assert fetched == made
    assert user == "1000"
