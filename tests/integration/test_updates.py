"""Looking for newer images: what registries tell, what is kept of it, who shows it, and when it is done by itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from config.cli import updates
from portal.core.models import AuditEntry
from portal.operations import worker
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.runtime.compose import registry
from portal.runtime.compose.client import Docker
from portal.runtime.compose.registry import RegistryError
from portal.stacks import sealing
from portal.stacks.models import ImageLook, Release, Stack
from portal.stacks.sealing import Sealed
from portal.stacks.updates.services import EVERY, SPREAD, next_look, updates_due
from tests.support.fake_registry import FakeRegistry, fake_registry
from tests.support.portal_web import text_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("control_plane"),
]

OLD, NEW, ODD = (f"sha256:{letter * 64}" for letter in "abc")


@pytest.fixture
def site(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRegistry]:
    """A stack whose `postgres` and `api` came from a registry, and whose `frontend` was built here."""
    settings.RUNTIME = "compose"
    with fake_registry() as found:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{found.address}")
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        found.here = {f"{found.address}/postgres@{OLD}": [OLD], f"{found.address}/api@{OLD}": [OLD, ODD]}
        found.there = {f"{found.address}/postgres:18.4": OLD, f"{found.address}/api:1": OLD}
        found.tags = {"postgres": ["18", "18.3", "18.4"]}
        deploy(found)
        yield found


def deploy(site: FakeRegistry) -> Stack:
    """Have the stack serve a release with these images."""
    stack = Stack.objects.create(name="rag", runtime="compose")
    services: dict[str, Any] = {
        "postgres": {"image": f"{site.address}/postgres:18.4"},
        "api": {"image": f"{site.address}/api:1"},
        "ingest": {"image": f"{site.address}/api:1"},
        "frontend": {"image": "loaded:1"},
        "nginx": {"image": "ragkeep/nginx:1", "build": {"context": "."}},
    }
    ids = {"postgres": f"{site.address}/postgres@{OLD}", "api": f"{site.address}/api@{OLD}", "frontend": ODD}
    ids |= {"ingest": ids["api"], "nginx": ODD}
    Release.objects.create(
        stack=stack, number=1, state="current", runtime="compose", outline="", author_name="x",
        images={name: {"reference": "", "id": found} for name, found in ids.items()},
        sealed_file=sealing.seal("rag", 1, Sealed(json.dumps({"services": services}), {})),
    )  # fmt: skip
    return stack


def look() -> Operation:
    operation = operation_start(kind="stack.updates", target="stack:rag")
    worker.execute(operation.pk)
    operation.refresh_from_db()
    return operation


def row(name: str) -> ImageLook:
    return ImageLook.objects.get(reference__contains=name)


def docker_of(site: FakeRegistry, tmp_path: Path) -> Docker:
    return Docker(f"tcp://{site.address}", tmp_path / "docker")


def sign_in(tmp_path: Path, host: str, login: str) -> None:
    (tmp_path / "docker").mkdir()
    auths = {host: {"auth": base64.b64encode(login.encode()).decode()}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": auths}))


def test_nothing_is_newer(site: FakeRegistry) -> None:
    done = look()
    assert (done.state, done.result) == (
        State.SUCCEEDED,
        {"images": 3, "newer_images": 0, "newer_versions": 0, "not_told": 0},
    )
    assert {one.reference.rpartition("/")[2]: one.condition for one in ImageLook.objects.all()} == {
        "postgres:18.4": "current", "api:1": "current", "loaded:1": "local",
    }  # fmt: skip
    assert row("api").services == ["api", "ingest"]
    assert not [path for path in site.asked if "loaded" in path or "nginx" in path], "built here: nobody was asked"


def test_a_newer_image_and_a_newer_version_are_found_with_what_a_deploy_would_do(site: FakeRegistry) -> None:
    site.there = {f"{site.address}/postgres:18.4": OLD, f"{site.address}/api:1": NEW}
    site.tags = {"postgres": ["17.9", "18.4", "18.5", "18.10", "19.0"]}
    assert look().result == {"images": 3, "newer_images": 1, "newer_versions": 1, "not_told": 0}
    api, database = row("api"), row("postgres")
    assert (api.condition, api.newer_digest, api.newer_tag) == ("newer image", NEW, "")
    assert (database.condition, database.newer_digest, database.newer_tag) == ("newer version", "", "18.10")
    assert (database.setting, api.setting) == ("POSTGRES_IMAGE", "")
    assert database.effect["interrupted"] == ["postgres"]
    assert "keeps the data of postgres" in database.effect["touches"][0]
    assert api.effect["interrupted"] == ["ingest"], "a new api starts beside the old one"


def test_the_same_image_under_another_digest_is_not_newer(site: FakeRegistry) -> None:
    site.there[f"{site.address}/api:1"] = ODD
    look()
    assert row("api").condition == "current"


def test_a_registry_that_is_out_of_reach_is_a_line_and_no_failure(site: FakeRegistry) -> None:
    site.there, site.tags = {}, {}
    done = look()
    assert (done.state, done.result["not_told"]) == (State.SUCCEEDED, 2)
    assert {one.condition for one in ImageLook.objects.exclude(digest="")} == {"unknown"}
    assert "no such host" in row("api").fault
    assert [line.level for line in done.log_lines.all()] == ["info", "info"]


def test_what_one_registry_knows_is_told_though_it_keeps_the_rest_to_itself(site: FakeRegistry) -> None:
    site.tags = {}
    site.there[f"{site.address}/postgres:18.4"] = NEW
    look()
    assert (row("postgres").condition, row("postgres").newer_digest) == ("newer image", NEW)
    assert "it answered 404" in row("postgres").fault


def test_a_registry_that_wants_a_name_and_a_password_gets_those_of_docker_login(
    site: FakeRegistry, tmp_path: Path
) -> None:
    site.login = "reader:secret-word"
    name = f"{site.address}/postgres:18.4"
    with pytest.raises(RegistryError, match="answered 401") as refused:
        registry.tags(docker_of(site, tmp_path), name)
    sign_in(tmp_path, site.address, site.login)
    assert registry.tags(docker_of(site, tmp_path), name) == ["18", "18.3", "18.4"], "of two pages"
    assert registry.digest(docker_of(site, tmp_path), name) == OLD
    assert json.loads(base64.urlsafe_b64decode(site.auth[-1]))["password"] == "secret-word"
    look()
    told = f"{refused.value.message} {[*ImageLook.objects.values_list()]}"
    assert "secret-word" not in told


def test_a_project_of_processes_has_no_images(settings: Settings, site: FakeRegistry, seen: dict[str, Client]) -> None:
    settings.RUNTIME = "embedded"
    answer = seen["operator"].post("/stack/updates/look/", follow=True)
    assert "have no images" in answer.content.decode()
    assert updates_due(timezone.now() + 2 * EVERY) == []
    told = CliRunner().invoke(updates.command, ["--json"])
    assert told.exit_code == 1
    assert json.loads(told.stdout)["error"]["code"] == "no_images"


def test_it_is_done_once_a_day_unless_that_is_switched_off(site: FakeRegistry) -> None:
    stack = Stack.objects.get()
    first = next_look(stack)
    assert stack.created_at <= first <= stack.created_at + SPREAD
    assert next_look(stack) == first, "the same however often one asks"
    assert updates_due(first - timedelta(seconds=1)) == []
    (made,) = updates_due(first)
    assert updates_due(first) == [], "not while one is at work"
    worker.execute(made.pk)
    again = next_look(stack)
    assert EVERY <= again - made.created_at <= EVERY + SPREAD
    told = CliRunner().invoke(updates.command, ["--daily", "off", "--json"])
    assert json.loads(told.stdout)["daily"] is False
    assert updates_due(again) == []
    assert AuditEntry.objects.filter(action="stack.updates.off").count() == 1


def test_the_command_looks_and_says_what_to_do(site: FakeRegistry, worker_thread: None) -> None:
    assert "nobody has looked yet" in CliRunner().invoke(updates.command, ["--last"]).stdout
    assert not site.asked
    site.there[f"{site.address}/api:1"] = NEW
    site.tags["postgres"].append("18.5")
    told = CliRunner().invoke(updates.command, [])
    assert told.exit_code == 0, told.output
    assert "`manage.py deploy --pull` takes it" in told.stdout
    assert "newer version 18.5: set POSTGRES_IMAGE to that and deploy" in told.stdout
    assert "2 images have something newer" in told.stdout
    before = len(site.asked)
    found = json.loads(CliRunner().invoke(updates.command, ["--last", "--json"]).stdout)
    assert len(site.asked) == before, "no registry was asked"
    assert found["newer"] == 2
    assert found["images"][0]["newer_digest"] == NEW
    assert CliRunner().invoke(updates.command, ["--stack", "none"]).exit_code == 1


def test_the_page_shows_it_and_asks_nobody(site: FakeRegistry, seen: dict[str, Client]) -> None:
    assert "Nobody has looked yet" in text_of(seen["reader"], "/stack/")
    site.there[f"{site.address}/api:1"] = NEW
    site.tags["postgres"].append("18.5")
    look()
    site.asked.clear()
    text = text_of(seen["operator"], "/stack/")
    assert not [path for path in site.asked if path.startswith(("/v2/", "/distribution/"))]
    assert "Newer image</span>" in text
    assert "There is" in text
    assert "18.5" in text
    assert 'name="pull" value="on"' in text
    assert 'name="pull"' not in text_of(seen["reader"], "/stack/")
    answer = seen["operator"].post("/stack/deploy/begin/", {"pull": "on"})
    assert Operation.objects.get(kind="stack.deploy").params == {"note": "", "pull": True}, answer.headers
