"""Somebody else's Compose projects on a real engine: added, deployed, updated, adopted, removed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from backups import process
from config.celery import app
from portal.core import places
from portal.core.models import AuditEntry
from portal.operations import worker
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.stacks.models import Project, Release, Stack
from portal.stacks.projects import adoption
from portal.stacks.projects.selectors import stack_rows
from portal.stacks.projects.services import Wanted, project_add, project_allow
from portal.stacks.projects.sources import upload_file
from portal.stacks.releases import kept_images
from tests.support import servers, tiny_stack
from tests.support.docker_engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

NAME = "shopproject"
AWKWARD = "a$b ${c} 'd' \"e\" # f \\g 1e3"
SLEEP = {"image": tiny_stack.IMAGE, "command": ["sleep", "infinity"], "init": True, "stop_grace_period": "1s"}


@dataclass(frozen=True, slots=True)
class Site:
    """An installation with a folder for projects."""

    engine: Engine
    var: Path
    folder: Path

    def write(self, services: dict[str, Any], name: str = "compose.yaml", **others: Any) -> None:  # noqa: ANN401
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(json.dumps({"services": services, **others}))

    def containers(self) -> dict[str, str]:
        """Service -> id of its container."""
        label = f"label=com.docker.compose.project={NAME}"
        template = '{{.Label "com.docker.compose.service"}} {{.ID}}'
        told = self.engine.docker("ps", "--all", "--filter", label, "--format", template).stdout
        return dict(line.split() for line in told.splitlines())

    def inspect(self, service: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", self.containers()[service]).stdout)
        return found[0]

    def environment(self, service: str) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.inspect(service)["Config"]["Env"])


@pytest.fixture
def site(
    engine: Engine,
    settings: Settings,
    valkey_server: servers.Valkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    tiny_stack.build_image(engine)
    settings.VAR_DIR, settings.RUNTIME = tmp_path / "var", "compose"
    settings.PROJECT_ROOTS = [tmp_path / "projects"]
    settings.VALKEY_URL = app.conf["broker_url"] = valkey_server.url
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    monkeypatch.setenv("DOCKER_CONFIG", str(engine.config))
    monkeypatch.setenv("DJANGO_SECRET_KEY", "marker-of-the-portal")
    found = Site(engine, tmp_path / "var", tmp_path / "projects" / "shop")
    try:
        yield found
    finally:
        engine.docker("compose", "--project-name", NAME, "down", "--volumes", "--timeout", "1", check=False)
        names = [name for release in Release.objects.all() for name in kept_images(release)]
        if names:
            places.runtime().let_images_go(names)


def run(kind: str, name: str = NAME, **params: object) -> Operation:
    operation = operation_start(kind=kind, target=f"stack:{name}", params=params)
    worker.execute(operation.pk)
    operation.refresh_from_db()
    return operation


def good(operation: Operation) -> dict[str, Any]:
    assert operation.state == State.SUCCEEDED, operation.error
    return dict(operation.result)


def add(site: Site, **wanted: Any) -> Project:  # noqa: ANN401
    project = project_add(Wanted(**{"name": NAME, "kind": "folder", "place": str(site.folder), **wanted}))
    return project


def test_a_folder_becomes_a_stack_with_everything_compose_knows(site: Site) -> None:
    site.write(
        {
            "web": {
                **SLEEP,
                "extends": {"file": "common.yaml", "service": "base"},
                "env_file": ["web.env"],
                "environment": {"FROM_DOTENV": "${WORD}", "STOLEN": "${DJANGO_SECRET_KEY:-}", "LITERAL": "$$HOME"},
                "volumes": ["./content:/content:ro", "data:/data"],
            },
            "extra": {**SLEEP, "profiles": ["more"]},
            "idle": {**SLEEP, "profiles": ["never"]},
        },
        include=["below/compose.yaml"],
        volumes={"data": {}},
    )
    site.write({"web": {"labels": {"from.override": "yes"}}}, "compose.override.yaml")
    site.write({"base": {"labels": {"from.extends": "yes"}}}, "common.yaml")
    (site.folder / "below").mkdir()
    site.write({"inner": SLEEP}, "below/compose.yaml")
    (site.folder / "content").mkdir()
    (site.folder / "content" / "page").write_text("hello\n")
    (site.folder / "web.env").write_text("FROM_FILE=yes\n")
    (site.folder / ".env").write_text(f"WORD='{AWKWARD}'\n".replace("'d'", "d"))
    before = {path: path.read_bytes() for path in site.folder.rglob("*") if path.is_file()}
    add(site, profiles=["more"])
    good(run("project.fetch"))
    result = good(run("stack.deploy"))
    assert result["changes"] == {"web": "create", "extra": "create", "inner": "create"}
    assert set(site.containers()) == {"web", "extra", "inner"}
    environment = site.environment("web")
    assert environment["FROM_DOTENV"] == AWKWARD.replace("'d'", "d")
    assert (environment["STOLEN"], environment["LITERAL"], environment["FROM_FILE"]) == ("", "$HOME", "yes")
    labels = site.inspect("web")["Config"]["Labels"]
    assert (labels["from.override"], labels["from.extends"]) == ("yes", "yes")
    assert site.engine.docker("exec", site.containers()["web"], "cat", "/content/page").stdout == "hello\n"
    assert good(run("stack.plan"))["plan"]["nothing"] is True
    assert {path: path.read_bytes() for path in site.folder.rglob("*") if path.is_file()} == before
    (site.folder / "content" / "page").write_text("good day\n")
    good(run("project.fetch", deploy=True))
    assert site.engine.docker("exec", site.containers()["web"], "cat", "/content/page").stdout == "good day\n"
    assert Release.objects.count() == 2


def test_what_takes_an_administrator_is_refused_until_one_agreed(site: Site) -> None:
    site.write({"web": {**SLEEP, "volumes": ["/etc:/host:ro"], "cap_add": ["SYS_PTRACE"]}})
    project = add(site)
    assert len(good(run("project.fetch"))["not_granted"]) == 2
    plan = good(run("stack.plan"))["plan"]
    assert [need["what"] for need in plan["needs"]] == [
        "web: has further capabilities: SYS_PTRACE", "web: reads /etc of this host",
    ]  # fmt: skip
    refused = run("stack.deploy")
    assert (refused.state, refused.error["code"]) == (State.FAILED, "not_ready")
    assert not site.containers()
    project.refresh_from_db()
    project_allow(project=project, confirm=NAME)
    assert AuditEntry.objects.filter(action="project.allowed").count() == 1
    good(run("stack.deploy"))
    site.write({"web": {**SLEEP, "volumes": ["/etc:/host:ro"], "cap_add": ["SYS_PTRACE"], "privileged": True}})
    again = run("project.fetch", deploy=True)
    assert again.state == State.FAILED, "what was added since was agreed to by nobody"
    assert "privileged" in again.error["message"]
    assert set(site.containers()) == {"web"}


def test_a_file_that_cannot_be_read_breaks_its_own_stack_only(site: Site) -> None:
    site.write({"web": SLEEP})
    add(site)
    good(run("project.fetch"))
    good(run("stack.deploy"))
    (site.folder / "compose.yaml").write_text("services:\n  web:\n    image: [\n")
    broken = run("project.fetch")
    assert (broken.state, broken.error["code"]) == (State.FAILED, "stack_file")
    (row,) = stack_rows()
    assert row.fault.startswith("compose.yaml:4: is not YAML"), row.fault
    assert row.condition in ("healthy", "starting"), "what runs goes on, and is still shown"
    (site.folder / "compose.yaml").write_text("services:\n  web:\n    image: a\n    ports: [{target: x}]\n")
    said = run("project.fetch").error["message"]
    assert said.startswith("compose.yaml:4"), said
    assert run("stack.deploy").state == State.FAILED
    assert set(site.containers()) == {"web"}


def test_an_upload_and_its_removal(site: Site) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        content = {"services": {"web": {**SLEEP, "volumes": ["stored:/d"]}}, "volumes": {"stored": {}}}
        archive.writestr("shop/docker-compose.yml", json.dumps(content))
    add(site, kind="upload", place="")
    upload_file(NAME).write_bytes(packed.getvalue())
    good(run("project.fetch"))
    good(run("stack.deploy"))
    kept = good(run("project.remove"))["kept"]
    assert kept[0] == "its volumes"
    assert not site.containers()
    assert f"{NAME}_stored" in site.engine.docker("volume", "ls", "--quiet").stdout
    assert not Stack.objects.exists()
    add(site, kind="upload", place="")
    upload_file(NAME).write_bytes(packed.getvalue())
    good(run("project.fetch"))
    good(run("stack.deploy"))
    good(run("project.remove", data=True))
    assert f"{NAME}_stored" not in site.engine.docker("volume", "ls", "--quiet").stdout


def test_a_git_repository_is_followed(site: Site) -> None:
    def git(*words: str) -> None:
        process.run(["git", "-C", str(site.folder), *words])

    (site.folder / "inner").mkdir(parents=True)
    git("init", "--initial-branch", "live")
    git("config", "user.email", "a@example.org")
    git("config", "user.name", "a")
    site.write({"web": SLEEP}, "inner/compose.yaml")
    git("add", ".")
    git("commit", "--message", "first")
    add(site, kind="git", place=f"file://{site.folder}", branch="live", folder="inner")
    first = good(run("project.fetch", deploy=True))
    assert first["changes"] == {"web": "create"}
    site.write({"web": SLEEP, "more": SLEEP}, "inner/compose.yaml")
    git("commit", "--all", "--message", "second")
    second = good(run("project.fetch", deploy=True))
    assert second["revision"] != first["revision"]
    assert second["changes"] == {"more": "create"}


def test_a_running_project_is_adopted_as_it_is(site: Site) -> None:
    site.write(
        {
            "web": {**SLEEP, "env_file": "web.env", "volumes": ["./data:/data", "./conf:/conf:ro"], "ports": ["8001"]},
            "db": {**SLEEP, "volumes": ["stored:/d"], "environment": {"WORD": "${WORD}"}},
        },
        volumes={"stored": {}},
        networks={"default": {}},
    )
    (site.folder / "web.env").write_text("A=1\n")
    (site.folder / ".env").write_text("WORD=x$$y\n")
    (site.folder / "conf").mkdir()
    (site.folder / "conf" / "a").write_text("1")
    compose = ["compose", "--project-name", NAME, "--project-directory", str(site.folder)]
    site.engine.docker(*compose, "--file", str(site.folder / "compose.yaml"), "up", "--detach")
    before = site.containers()
    assert [found.name for found in adoption.projects_running() if found.name == NAME] == [NAME]
    add(site, kind="adopted", place="")
    result = good(run("project.adopt"))
    assert result["differs"] == {}
    assert result["release"] == 1
    assert good(run("stack.plan"))["plan"]["nothing"] is True
    assert site.containers() == before
    project = Project.objects.get()
    assert {str(need).split(" of ")[0] for need in project.needs} == {
        f"web: writes to {site.folder}/data", f"web: reads {site.folder}/conf",
    }  # fmt: skip
    project_allow(project=project, confirm=NAME)
    good(run("stack.deploy"))
    assert site.containers() == before
    site.write(
        {"web": {**SLEEP, "env_file": "web.env"}, "db": {**SLEEP, "volumes": ["stored:/d"]}}, volumes={"stored": {}}
    )
    good(run("project.adopt"))
    good(run("stack.deploy"))
    assert site.inspect("web")["Mounts"] == []
    good(run("project.remove", stop=False))
    assert set(site.containers()) == {"web", "db"}
