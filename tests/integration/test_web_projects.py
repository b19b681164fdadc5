"""Stacks of others by click: added, adopted, agreed to, told apart from the product's own, removed."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from portal.core import places
from portal.core.models import AuditEntry
from portal.operations import worker
from portal.operations.errors import OperationFailed, OperationRefused
from portal.operations.models import Operation, State
from portal.operations.services import operation_start
from portal.stacks.models import Project, Stack
from portal.stacks.pending import pending_get
from portal.stacks.projects.secretfiles import GIT, handed_folder, secret_file, secret_keep, taken
from portal.stacks.projects.sources import upload_file
from portal.stacks.reconciling import stacks_reconcile
from portal.stacks.variables import HIDDEN
from tests.support import portal_web
from tests.support.portal_projects.engine import Engine, container, stand_in
from tests.support.portal_web import Rows, text_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture
def engine(used: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """What runs in an installation in containers."""
    return stand_in(tmp_path, monkeypatch.setattr)[1]


@pytest.fixture
def shop(engine: Engine, tmp_path: Path) -> Project:
    return portal_web.further("shop", tmp_path)


def add(client: Client, **fields: Any) -> Any:  # noqa: ANN401 - an answer of Django's client
    return client.post("/stacks/add/", {"kind": "git", "name": "blog", **fields})


def holding(text: str, folder: Path) -> list[Path]:
    """The files below a folder that have the text in them."""
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


# The list


def test_the_list_leads_to_every_stack_and_says_what_is_wrong(operator: Client, shop: Project) -> None:
    Project.objects.update(fault={"place": "compose.yaml:4", "message": "is not YAML"}, needs=portal_web.NEEDS)
    text = text_of(operator, "/stacks/")
    assert 'href="/stacks/shop/">shop</a>' in text
    assert 'href="/stack/">rag</a>' in text
    assert "compose.yaml:4: is not YAML" in text
    assert "2 things to agree to" in text


def test_without_docker_a_further_stack_is_shown_with_the_reason(operator: Client, used: Rows, tmp_path: Path) -> None:
    portal_web.further("shop", tmp_path)
    for address in ("/stacks/", "/stacks/shop/"):
        assert "shop is a Compose project, and this installation has no Docker" in text_of(operator, address)
    assert "Compose projects need Docker" in text_of(operator, "/stacks/")


def test_what_runs_besides_can_be_adopted_unless_its_files_are_elsewhere(operator: Client, engine: Engine) -> None:
    engine.running = [container("blog", "web"), container("other", "web", file="/etc/compose.yaml")]
    engine.running.append(container("rag", "api"))
    text = text_of(operator, "/stacks/")
    assert 'name="project" value="blog"' in text
    assert 'name="project" value="other"' not in text
    assert "/etc/compose.yaml is not below its folder" in text
    answer = operator.post("/stacks/adopt/", {"project": "blog"})
    made = Operation.objects.get(kind="project.adopt")
    assert (answer.headers["Location"], made.target) == (f"/operations/{made.pk}/", "stack:blog")
    assert Project.objects.get().kind == "adopted"
    refused = operator.post("/stacks/adopt/", {"project": "other"}, follow=True)
    assert "cannot be adopted" in refused.content.decode()
    assert not Stack.objects.filter(name="other").exists()


# Adding


@pytest.mark.usefixtures("engine")
def test_a_git_repository_is_added_with_a_token_that_only_the_worker_keeps(operator: Client, tmp_path: Path) -> None:
    address = "https://git.example.org/blog.git"
    answer = add(operator, place=address, branch="live", inner="deploy", token="marker", profiles="a, b")
    made = Operation.objects.get(kind="project.fetch")
    assert answer.headers["Location"] == f"/operations/{made.pk}/"
    project = Project.objects.get()
    told = (project.kind, project.place, project.branch, project.folder, project.profiles)
    assert told == ("git", address, "live", "deploy", ["a", "b"])
    assert secret_file("blog", GIT).read_text() == "https://token:marker@git.example.org\n"
    assert secret_file("blog", GIT).stat().st_mode & 0o777 == 0o600
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and "marker" in path.read_text("utf-8", "replace")
    ] == [secret_file("blog", GIT)]
    assert places.stack_spec("blog").foreign is not None, "nobody takes it for one of the product's own"


@pytest.mark.usefixtures("engine")
def test_an_upload_waits_for_the_worker(operator: Client) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("blog/compose.yaml", "services: {}")
    answer = add(operator, kind="upload", upload=SimpleUploadedFile("blog.zip", packed.getvalue()))
    assert answer.headers["Location"].startswith("/operations/")
    assert upload_file("blog").read_bytes() == packed.getvalue()
    assert upload_file("blog").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Not Good", "place": "https://x.org/a.git"}, "Expected at most 40 lower-case letters"),
        ({"name": "add", "place": "https://x.org/a.git"}, "is a word of the portal"),
        ({"place": "ext::sh -c id"}, "Expected an address that begins with"),
        ({"place": "https://me:pw@x.org/a.git"}, "Leave the password out of the address"),
        ({"place": "https://x.org/a.git", "branch": "--upload-pack=x"}, "Expected the name of a branch"),
        ({"place": "https://x.org/a.git", "compose_files": "../x.yaml"}, "is not below the project"),
        ({"name": "rag", "place": "https://x.org/a.git"}, "There is a stack called rag already"),
        ({"kind": "folder", "place": "srv/shop"}, "Expected a whole path"),
        ({"kind": "upload"}, "This field is required"),
    ],
)
def test_what_cannot_be_is_said_at_its_field_and_nothing_is_added(
    operator: Client, fields: dict[str, str], said: str
) -> None:
    before = Stack.objects.count()
    answer = add(operator, **fields)
    assert (answer.status_code, said in answer.content.decode()) == (422, True)
    assert Stack.objects.count() == before
    assert not Operation.objects.filter(kind="project.fetch").exists()


def test_without_docker_one_is_told_so(operator: Client, used: Rows) -> None:
    assert "Compose projects need Docker" in text_of(operator, "/stacks/add/")
    answer = add(operator, place="https://x.org/a.git")
    assert (answer.status_code, "up --runtime compose" in answer.content.decode()) == (422, True)


def test_a_project_that_runs_is_adopted_not_added(operator: Client, engine: Engine) -> None:
    engine.running = [container("blog", "web")]
    answer = add(operator, place="https://x.org/a.git")
    assert (answer.status_code, "stacks adopt blog" in answer.content.decode()) == (422, True)


# One of them


def test_a_further_stack_has_a_page_of_its_own(operator: Client, shop: Project) -> None:
    text = text_of(operator, "/stacks/shop/")
    assert "<h1>Stack shop</h1>" in text
    assert 'mono">web</span>' in text
    assert 'action="/stacks/shop/act/"' in text
    assert 'action="/stack/act/"' not in text
    assert 'href="/stacks/shop/deploy/"' in text
    assert "Stack rag" in text_of(operator, "/stack/")
    assert operator.get("/stacks/nobody/").status_code == 404
    assert operator.get("/stacks/rag/project/").status_code == 404


def test_its_services_are_started_and_it_is_stopped_as_a_whole(operator: Client, shop: Project) -> None:
    operator.post("/stacks/shop/act/", {"action": "restart", "service": "web"})
    made = Operation.objects.get(kind="stack.restart")
    assert (made.target, made.params) == ("stack:shop", {"service": "web"})
    made.delete()
    operator.post("/stacks/shop/act/", {"action": "stop"})
    assert Operation.objects.get(kind="stack.stop").params == {}, "the entrance is not one of its services"


@pytest.mark.usefixtures("engine")
def test_twenty_services_and_long_names_are_shown_each(operator: Client, tmp_path: Path) -> None:
    name, many = "x" * 40, [f"service-{number:02}-{'y' * 40}" for number in range(20)]
    portal_web.further(name, tmp_path, many)
    text = text_of(operator, f"/stacks/{name}/")
    assert [service for service in many if f'mono">{service}</span>' not in text] == []
    assert name in text_of(operator, "/stacks/")


def test_what_it_needs_is_shown_before_anybody_agrees(seen: dict[str, Client], shop: Project) -> None:
    Project.objects.update(needs=portal_web.NEEDS)
    for address in ("/stacks/shop/", "/stacks/shop/project/"):
        assert "reads /srv/photos of this host" in text_of(seen["reader"], address)
    assert 'action="/stacks/shop/project/allow/"' not in text_of(seen["reader"], "/stacks/shop/project/")
    assert 'action="/stacks/shop/project/allow/"' in text_of(seen["operator"], "/stacks/shop/project/")
    refused = seen["operator"].post("/stacks/shop/project/allow/", {"name": "shoq"}, follow=True)
    assert "Type the name of the stack, shop, to agree" in refused.content.decode()
    assert Project.objects.get().granted == []
    seen["operator"].post("/stacks/shop/project/allow/", {"name": "shop"})
    assert Project.objects.get().granted == portal_web.NEEDS
    assert "nobody agreed" not in text_of(seen["operator"], "/stacks/shop/project/")


def test_a_broken_file_is_named_with_its_line(operator: Client, shop: Project) -> None:
    Project.objects.update(fault={"place": "compose.yaml:4", "message": "is not YAML: <bad>"})
    for address in ("/stacks/shop/", "/stacks/shop/project/"):
        text = text_of(operator, address)
        assert "compose.yaml:4" in text
        assert "is not YAML: &lt;bad&gt;" in text


def test_the_webhooks_secret_is_shown_once(operator: Client, shop: Project) -> None:
    assert "http://testserver/hooks/shop/" in text_of(operator, "/stacks/shop/project/")
    answer = operator.post("/stacks/shop/project/hook/")
    secret = answer.content.decode().partition('id="secret">')[2].partition("<")[0]
    assert len(secret) > 40
    assert "no-store" in answer.headers["Cache-Control"]
    assert secret not in text_of(operator, "/stacks/shop/project/")
    called = Client().post("/hooks/shop/", b"{}", content_type="application/json", headers={"X-Gitlab-Token": secret})
    assert called.status_code == 202
    assert "never" not in text_of(operator, "/stacks/shop/project/").partition("Called")[2][:40]


def test_credentials_are_changed_and_never_shown(operator: Client, shop: Project) -> None:
    operator.post("/stacks/shop/project/token/", {"token": "marker"})
    assert "marker" in secret_file("shop", GIT).read_text()
    assert "marker" not in text_of(operator, "/stacks/shop/project/")
    assert "marker" not in str(list(AuditEntry.objects.values()))
    answer = operator.post("/stacks/shop/project/token/", {"token": ""}, follow=True)
    assert "Expected the token" in answer.content.decode()
    assert "marker" in secret_file("shop", GIT).read_text()


def test_an_upload_is_replaced_by_another(operator: Client, shop: Project) -> None:
    Project.objects.update(kind="upload", place="")
    assert operator.post("/stacks/shop/project/update/").status_code == 422
    operator.post("/stacks/shop/project/update/", {"upload": SimpleUploadedFile("a.yaml", b"services: {}")})
    assert upload_file("shop").read_bytes() == b"services: {}"
    assert Operation.objects.get(kind="project.fetch").target == "stack:shop"


@pytest.mark.parametrize(
    ("ticked", "params"),
    [
        ({}, {"stop": True, "data": False}),
        ({"keep_running": "on"}, {"stop": False, "data": False}),
        ({"with_data": "on"}, {"stop": True, "data": True}),
        ({"with_data": "on", "keep_running": "on"}, {"stop": True, "data": True}),
    ],
)
def test_a_removal_asks_for_the_name_and_says_what_goes(
    operator: Client, shop: Project, ticked: dict[str, str], params: dict[str, bool]
) -> None:
    text = text_of(operator, "/stacks/shop/project/")
    assert "shop_data" in text
    assert "theirs" not in text, "what is of others stays"
    operator.post("/stacks/shop/project/remove/", {"name": "sho", **ticked})
    assert not Operation.objects.filter(kind="project.remove").exists()
    operator.post("/stacks/shop/project/remove/", {"name": "shop", **ticked})
    assert Operation.objects.get(kind="project.remove").params == params


def test_an_operation_leads_to_its_stack_and_says_what_has_to_be_agreed_to(operator: Client, shop: Project) -> None:
    done = portal_web.operation("project.fetch", target="stack:shop", result={"not_granted": portal_web.NEEDS})
    text = text_of(operator, f"/operations/{done.pk}/")
    assert 'href="/stacks/shop/">stack:shop</a>' in text
    assert "reads /srv/photos of this host" in text
    own, gone = portal_web.operation(), portal_web.operation(target="stack:gone")
    assert 'href="/stack/">stack:rag</a>' in text_of(operator, f"/operations/{own.pk}/")
    assert ">stack:gone</a>" not in text_of(operator, f"/operations/{gone.pk}/")


def test_the_products_own_stack_has_its_pages_once(operator: Client, shop: Project) -> None:
    assert operator.get("/stacks/rag/").status_code == 404


def test_data_does_not_come_back_with_a_release_of_a_further_stack(operator: Client, shop: Project) -> None:
    assert "Data of such a stack is in no backup set" in text_of(operator, "/stacks/shop/releases/1/roll-back/")


def test_a_recovered_portal_takes_no_further_stack_for_its_own(shop: Project, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "known")
    stacks_reconcile()
    assert places.stack_spec("shop").foreign is not None
    assert Project.objects.get().fetched_at is None
    with pytest.raises(OperationRefused, match="are not here yet"):
        operation_start(kind="stack.deploy", target="stack:shop", params={})


# Settings of it


@pytest.fixture
def files(shop: Project, tmp_path: Path) -> Path:
    """The project's files, as an operation brought them here."""
    folder = tmp_path / "stacks" / "shop" / "source"
    folder.mkdir(parents=True)
    (folder / "compose.yaml").write_text("services:\n  web:\n    image: a:${TAG:-1}\n    environment: [DB_PASSWORD]\n")
    (folder / ".env").write_text("DB_PASSWORD=marker\n")
    return folder


def test_variables_are_settings_and_what_sounds_secret_is_masked(operator: Client, files: Path) -> None:
    text = text_of(operator, "/stacks/shop/settings/")
    assert 'name="TAG"' in text
    assert f'placeholder="{HIDDEN}"' in text
    assert "marker" not in text
    operator.post("/stacks/shop/settings/", {"TAG": "2", "DB_PASSWORD": "fresh-marker"})
    assert pending_get("shop") == {"TAG": "2", "DB_PASSWORD": "fresh-marker"}
    kept = secret_file("shop", "pending")
    assert (kept.is_file(), kept.stat().st_mode & 0o777) == (True, 0o600)
    assert list(handed_folder().iterdir()) == [], "what was handed over is gone"
    text = text_of(operator, "/stacks/shop/settings/")
    assert "2 changes wait" in text
    assert "fresh-marker" not in text
    operator.post("/stacks/shop/settings/", {"TAG": "3", "DB_PASSWORD": HIDDEN})
    assert pending_get("shop") == {"TAG": "3", "DB_PASSWORD": "fresh-marker"}, "sent back as shown, it stays"
    operator.post("/stacks/shop/settings/forget/")
    assert pending_get("shop") == {}


def test_a_value_that_cannot_be_written_is_refused_at_its_field(operator: Client, files: Path) -> None:
    answer = operator.post("/stacks/shop/settings/", {"TAG": "a\tb", "DB_PASSWORD": ""})
    assert (answer.status_code, "holds a line break" in answer.content.decode()) == (422, True)
    assert pending_get("shop") == {}


def test_files_that_cannot_be_read_are_named_instead_of_settings(operator: Client, files: Path) -> None:
    (files / "compose.yaml").write_text("services: [\n")
    text = text_of(operator, "/stacks/shop/settings/")
    assert "The settings cannot be read" in text
    assert "compose.yaml:2" in text


def test_what_sounds_secret_is_left_out_of_logs(
    operator: Client, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["connecting with marker-in-env", "all well"])
    (files / ".env").write_text("DB_PASSWORD=marker-in-env\n")
    monkeypatch.setattr(places.runtime(), "logs", lambda *_, **__: said)
    text = text_of(operator, "/stacks/shop/logs/web/")
    assert "all well" in text
    assert "marker-in-env" not in text


# Handing over


def test_a_secret_that_nobody_takes_is_kept_nowhere(
    shop: Project, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from portal.operations import asking

    def silent(*_: object, **__: object) -> None:
        raise OperationFailed("The worker did not answer.")

    settings.AGENTS_ELSEWHERE = True
    monkeypatch.setattr(asking, "_ask", silent)
    with pytest.raises(OperationFailed):
        secret_keep(stack="shop", kind=GIT, text="marker")
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and "marker" in path.read_text("utf-8", "replace")
    ] == []


def test_only_what_was_handed_over_is_taken(shop: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("x")
    (handed_folder() / "link").symlink_to(other)
    for name in ("link", "../../../other", "nothing"):
        with pytest.raises(OperationFailed):
            taken(name)
    assert other.read_text() == "x"
    with pytest.raises(OperationFailed):
        secret_keep(stack="../x", kind=GIT, text="x")


def test_a_folder_elsewhere_is_refused_by_name(
    operator: Client, engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    settings.PROJECT_ROOTS = [tmp_path / "projects"]
    add(operator, kind="folder", place="/etc")
    made = Operation.objects.get(kind="project.fetch")
    worker.execute(made.pk)
    made.refresh_from_db()
    assert (made.state, made.error["code"]) == (State.FAILED, "not_allowed")
    assert str(tmp_path / "projects") in text_of(operator, f"/operations/{made.pk}/")
