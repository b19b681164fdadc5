"""The pages of repositories: what everybody sees, and what administrators do there, on real folders."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from portal.operations.models import Operation
from portal.vaults.models import ForeignSnapshot, Repository
from tests.support import portal_web
from tests.support.portal_web import text_of
from tests.support.vault import Vault, vault

__all__ = ["vault"]
pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def used(vault: Vault, tmp_path: Path) -> Repository:
    """The default repository of a portal in use; its folder is there, nothing lies in it."""
    (tmp_path / "password").write_text("password of default\n")
    return portal_web.rows(tmp_path).plan.repository


@pytest.mark.parametrize(
    ("address", "verb", "statuses"),
    [
        ("/repositories/", "get", (302, 200, 200)),
        ("/repositories/default/", "get", (302, 200, 200)),
        ("/repositories/add/", "get", (302, 403, 200)),
        ("/repositories/add/?kind=sftp", "get", (302, 403, 200)),
        ("/repositories/default/change/", "get", (302, 403, 200)),
        ("/repositories/default/adopt/", "post", (302, 403, 302)),
        ("/repositories/default/remove/", "post", (302, 403, 302)),
        ("/repositories/default/test/", "post", (302, 403, 200)),
        ("/repositories/nowhere/", "get", (302, 404, 404)),
    ],
)
def test_who_may(seen: dict[str, Client], address: str, verb: str, statuses: tuple[int, int, int]) -> None:
    answers = [getattr(seen[role], verb)(address) for role in portal_web.ROLES]
    assert tuple(answer.status_code for answer in answers) == statuses


def test_the_list_says_how_each_is_without_asking_any(
    seen: dict[str, Client], used: Repository, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Repository.objects.create(name="offsite", url="s3:https://h/b", password_file="x", append_only=True)
    Repository.objects.create(name="lost", url="/nowhere/at/all", password_file="x", copy_to=used)
    with django_assert_max_num_queries(20):
        page = text_of(seen["reader"], "/repositories/")
    for word in ("object store, append-only", "Not there", "Ready", "offsite", "lost"):
        assert word in page
    assert "Add a repository" not in page


def test_one_shows_foreign_snapshots_and_no_secret_path_to_readers(seen: dict[str, Client], used: Repository) -> None:
    ForeignSnapshot.objects.create(
        repository=used, snapshot_id="beef" * 16, taken_at=datetime(2026, 1, 2, tzinfo=UTC), host="laptop",
        tags=["holiday"], paths=["/home/<b>"],
    )  # fmt: skip
    page = text_of(seen["reader"], "/repositories/default/")
    for word in ("Foreign snapshots", "laptop", "holiday", "/home/&lt;b&gt;", "nightly"):
        assert word in page
    assert used.password_file not in page
    assert used.password_file in text_of(seen["operator"], "/repositories/default/")


def test_a_folder_is_added_tested_and_taken_off_again(seen: dict[str, Client], tmp_path: Path) -> None:
    operator = seen["operator"]
    form = {"kind": "local", "name": "disk2", "folder": str(tmp_path / "disk2")}
    answer = operator.post("/repositories/add/", form)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/repositories/disk2/")
    row = Repository.objects.get(name="disk2")
    assert (tmp_path / "disk2" / "config").exists()
    assert row.password_file in text_of(operator, "/repositories/disk2/")
    tested = operator.post("/repositories/disk2/test/").content.decode()
    assert f"opens the repository {row.restic_id[:8]}" in tested
    wrong = operator.post("/repositories/disk2/remove/", {"name": "disk"}, follow=True).content.decode()
    assert "expected the name of the repository" in wrong
    gone = operator.post("/repositories/disk2/remove/", {"name": "disk2"}, follow=True).content.decode()
    assert "what lies in it stays" in gone
    assert not Repository.objects.filter(name="disk2").exists()


def test_what_is_wrong_stands_at_its_field(seen: dict[str, Client], tmp_path: Path) -> None:
    operator = seen["operator"]
    taken = operator.post("/repositories/add/", {"kind": "local", "name": "default", "folder": str(tmp_path / "x")})
    assert (taken.status_code, "There is a repository default already" in taken.content.decode()) == (422, True)
    place = {
        "kind": "s3",
        "name": "s",
        "endpoint": "http://127.0.0.1:9",
        "bucket": "b",
        "key": "k",
        "secret_key": "s3cr3t",
    }
    silent = operator.post("/repositories/add/", place)
    assert (silent.status_code, "does not answer" in silent.content.decode()) == (422, True)
    assert "s3cr3t" not in silent.content.decode()
    empty = operator.post("/repositories/add/", {"kind": "sftp"}).content.decode()
    assert empty.count("This field is required") >= 4
    assert Repository.objects.count() == 1


def test_changing_keeps_only_what_leads_to_the_same_repository(seen: dict[str, Client], vault: Vault) -> None:
    row = vault.repository("moving")
    form = text_of(seen["operator"], "/repositories/moving/change/")
    assert row.url in form
    missing = seen["operator"].post("/repositories/moving/change/", {"kind": "local", "folder": f"{row.url}-moved"})
    assert missing.status_code == 422
    Path(row.url).rename(f"{row.url}-moved")
    moved = seen["operator"].post("/repositories/moving/change/", {"kind": "local", "folder": f"{row.url}-moved"})
    assert moved.headers.get("Location") == "/repositories/moving/", moved.content
    assert Repository.objects.get(name="moving").url == f"{row.url}-moved"


def test_reading_again_starts_the_operation(seen: dict[str, Client]) -> None:
    answer = seen["operator"].post("/repositories/default/adopt/")
    operation = Operation.objects.get(kind="repository.adopt")
    assert (answer.headers["Location"], operation.target) == (f"/operations/{operation.pk}/", "repository:default")
