"""Recovery pages: the card, the proof of a key, taking over; with a real repository."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backups.job import RepositoryPlace
from backups.repository import Repository as Restic
from portal.alarms.rules import recovery
from portal.core.models import AuditEntry
from portal.vaults.keyproof import keyproof_due, keyproof_last, keyproofs_last
from portal.vaults.models import HELD, KeyProof, Plan, Repository
from portal.vaults.recover import plans_hold
from portal.vaults.recoverycard import recovery_card
from tests.support import portal_web, servers
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("repository")]

KEY = "the-key-of-the-test-repository"
PAGE, CARD, PROOF = "/recovery/", "/recovery/default/card/", "/recovery/default/key/"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository and its key file."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "key").write_text(KEY + "\n")
    Restic(RepositoryPlace("", str(folder / "repo"), folder / "key"), servers.RESTIC, folder / "cache").init()
    return folder


@pytest.fixture
def repository(used: Rows, made: Path) -> Repository:
    place = RepositoryPlace("", str(made / "repo"), made / "key")
    row = used.good.repository
    row.url, row.password_file = place.url, str(place.password_file)
    row.restic_id = Restic(place, servers.RESTIC, made / "cache").open()
    row.save()
    return row


def test_the_card_says_all_but_the_key(operator: Client, repository: Repository) -> None:
    text = operator.get(CARD).content.decode()
    card = recovery_card(repository)
    assert len(card.key_id) == 64
    for fact in (repository.url, repository.restic_id, card.key_id, repository.password_file, card.command):
        assert fact in text
    assert f"recover --repository {repository.url} --password-file" in card.command
    assert KEY not in text
    assert KEY not in str(card.to_json())


def test_the_card_names_the_files_to_keep_and_shows_none(operator: Client, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("h ssh-ed25519 AAAA\n")
    (tmp_path / "id").write_text("a private key")
    options = {"key_file": str(tmp_path / "id"), "known_hosts_file": str(tmp_path / "hosts")}
    Repository.objects.update(url="sftp://b@127.0.0.1:9//r", options=options)
    text = operator.get(CARD).content.decode()
    for fact in (str(tmp_path / "id"), "SSH_KEY_FILE", "--host-key SHA256:", "The private SSH key for the server"):
        assert fact in text
    assert "a private key" not in text


def test_the_card_of_a_repository_that_is_away_is_still_a_card(operator: Client, repository: Repository) -> None:
    Repository.objects.update(url="/nowhere/at-all")
    text = operator.get(CARD).content.decode()
    assert "the repository does not answer" in text
    assert repository.restic_id in text


def test_the_right_key_is_recorded_and_never_kept(operator: Client, repository: Repository, tmp_path: Path) -> None:
    assert keyproof_due(repository, None)
    assert operator.post(PROOF, {"key": f" {KEY} "}).headers["Location"] == PAGE
    proof = KeyProof.objects.get()
    assert (proof.passed, proof.by and proof.by.username) == (True, portal_web.OPERATOR)
    assert keyproof_last(repository) == proof
    assert not keyproof_due(repository, proof)
    assert keyproof_due(repository, proof, now=timezone.now() + timedelta(days=91))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text(errors="replace")] == []
    assert KEY not in str(list(AuditEntry.objects.values()))


def test_of_many_repositories_each_has_its_own_last_proof(repository: Repository) -> None:
    other, never = (Repository.objects.create(name=name, url=f"/srv/{name}", password_file="x") for name in "on")
    for row, days in ((repository, 9), (other, 1), (repository, 3)):
        proof = KeyProof.objects.create(repository=row, passed=True)
        KeyProof.objects.filter(pk=proof.pk).update(created_at=timezone.now() - timedelta(days=days))
    KeyProof.objects.create(repository=never, passed=False)
    found = keyproofs_last([repository, other, never])
    assert {pk: (timezone.now() - proof.created_at).days for pk, proof in found.items()} == {
        repository.pk: 3,
        other.pk: 1,
    }


@pytest.mark.parametrize("address", [PAGE, "/", "/repositories/"])
def test_a_page_asks_the_database_no_more_often_for_more_repositories(
    operator: Client, address: str, tmp_path: Path
) -> None:
    Repository.objects.update(created_at=timezone.now() - timedelta(days=30))
    operator.get(address)
    with CaptureQueriesContext(connection) as one:
        operator.get(address)
    for number in range(4):
        row = Repository.objects.create(name=f"r{number}", url=str(tmp_path), password_file="x")
        row.foreign_snapshots.create(snapshot_id=f"{number}", taken_at=timezone.now(), tags=["ragkeep"])
    Repository.objects.update(created_at=timezone.now() - timedelta(days=30))
    with CaptureQueriesContext(connection) as more:
        operator.get(address)
    assert len(more) <= len(one), [query["sql"][:120] for query in more]


def test_a_wrong_key_is_said_and_counted_until_a_pause(operator: Client, repository: Repository) -> None:
    for _ in range(5):
        answer = operator.post(PROOF, {"key": "not the key"})
        assert answer.status_code == 422
        assert "does not open the repository" in answer.content.decode()
        assert "not the key" not in answer.content.decode()
    answer = operator.post(PROOF, {"key": KEY})
    assert "Too many wrong keys" in answer.content.decode()
    assert list(KeyProof.objects.values_list("passed", flat=True)) == [False] * 5
    KeyProof.objects.update(created_at=timezone.now() - timedelta(minutes=16))
    assert operator.post(PROOF, {"key": KEY}).status_code == 302


def test_another_repository_in_its_place_proves_nothing(
    operator: Client, repository: Repository, made: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    Restic(RepositoryPlace("", str(other), made / "key"), servers.RESTIC, tmp_path / "cache").init()
    Repository.objects.update(url=str(other))
    answer = operator.post(PROOF, {"key": KEY})
    assert answer.status_code == 422
    assert "nother repository lies at" in answer.content.decode()
    shutil.rmtree(other)
    assert operator.post(PROOF, {"key": KEY}).status_code == 422
    assert not KeyProof.objects.exists()


def test_an_empty_key_asks_no_repository(operator: Client) -> None:
    answer = operator.post(PROOF, {"key": "  "})
    assert (answer.status_code, KeyProof.objects.count()) == (422, 0)
    assert operator.get("/recovery/unknown/key/").status_code == 404


def test_a_recovered_portal_holds_its_plans_until_it_takes_over(operator: Client) -> None:
    plan = Plan.objects.get()
    assert "plans are held" not in operator.get(PAGE).content.decode()
    assert plans_hold() == 1
    Plan.objects.update(next_run_at=timezone.now() - timedelta(days=3))
    for address in (PAGE, "/plans/", f"/plans/{plan.name}/"):
        assert "takes over" in (text := operator.get(address).content.decode()) or "are held" in text
        assert "9999" not in text
    assert operator.post("/recovery/take-over/").headers["Location"] == PAGE
    plan.refresh_from_db()
    assert plan.paused_until is None
    assert plan.next_run_at is not None
    assert plan.next_run_at > timezone.now()
    assert AuditEntry.objects.filter(action="portal.taken-over").count() == 1
    operator.post("/recovery/take-over/")
    assert AuditEntry.objects.filter(action="portal.taken-over").count() == 1


def test_plans_paused_by_people_stay_paused(operator: Client) -> None:
    until = timezone.now() + timedelta(days=2)
    Plan.objects.update(paused_until=until)
    operator.post("/recovery/take-over/")
    assert Plan.objects.get().paused_until == until
    assert until < HELD


def test_alarms_ask_for_the_key_and_tell_of_held_plans(repository: Repository) -> None:
    now = timezone.now()
    assert [*recovery.key_unproven(now), *recovery.held(now)] == []
    later = now + timedelta(days=8)
    (asked,) = recovery.key_unproven(later)
    assert "Nobody has proven yet" in asked.title
    KeyProof.objects.create(repository=repository, passed=False)
    assert recovery.key_unproven(later) == [asked]
    KeyProof.objects.create(repository=repository, passed=True)
    assert recovery.key_unproven(later) == []
    assert len(recovery.key_unproven(now + timedelta(days=98))) == 1
    plans_hold()
    (told,) = recovery.held(now)
    assert Plan.objects.get().name in told.title
