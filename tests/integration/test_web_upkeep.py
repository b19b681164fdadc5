"""The page of a repository's care: what it shows, who may act, and what has to be typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from portal.operations.models import Operation
from portal.vaults.models import Repository

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


def act(client: Client, **given: str) -> tuple[int, str | None]:
    answer = client.post(reverse("upkeep-act", args=["default"]), given, follow=True)
    last = Operation.objects.order_by("created_at").last()
    return answer.status_code, last.kind if last and last.target == "repository:default" else None


def test_only_operators_act_and_readers_look(seen: dict[str, Client]) -> None:
    address = reverse("upkeep", args=["default"])
    assert seen["anonymous"].get(address).status_code == 302
    assert "Do it" not in seen["reader"].get(address).content.decode()
    assert "Do it" in seen["operator"].get(address).content.decode()
    assert act(seen["reader"], action="check") == (403, None)
    assert act(seen["operator"], action="check") == (200, "repository.check")
    assert seen["operator"].get(reverse("upkeep", args=["nowhere"])).status_code == 404


@pytest.mark.parametrize("action", ["repair", "repair-sets", "prune-full", "prune-recover", "change-key"])
def test_what_rewrites_the_repository_asks_for_its_name(seen: dict[str, Client], action: str) -> None:
    assert act(seen["operator"], action=action, name="defualt") == (200, None)
    assert act(seen["operator"], action=action, name="default")[1] is not None


def test_damage_is_shown_with_its_sets_and_the_way_out(seen: dict[str, Client]) -> None:
    error = {
        "code": "repository_damaged",
        "message": "The repository default is damaged. Sets affected: 20260101T000000Z-abcdef.",
        "remedy": "`python3 manage.py repositories repair default` mends it.",
        "sets": ["20260101T000000Z-abcdef"],
        "errors": ["pack 00ff contains <b>errors</b>"],
    }
    Repository.objects.update(check_error=error)
    shown = seen["reader"].get(reverse("upkeep", args=["default"])).content.decode()
    assert "Damaged" in shown
    assert "20260101T000000Z-abcdef" in shown
    assert "repositories repair default" in shown
    assert "<b>errors" not in shown


def test_care_is_saved_and_bad_values_are_told(seen: dict[str, Client]) -> None:
    second = Repository.objects.create(name="second", url="rest:https://rag.example.org/", append_only=True)
    address = reverse("upkeep-care", args=["default"])
    seen["operator"].post(address, {"check_parts": "12", "copy_to": "second"})
    row = Repository.objects.get(name="default")
    assert (row.check_parts, row.copy_to) == (12, second)
    wrong = seen["operator"].post(address, {"check_parts": "0", "copy_to": "nowhere"})
    assert wrong.status_code == 422
    assert wrong.content.decode().count("field__error") == 2
    other = reverse("upkeep-care", args=["second"])
    lines = "RESTIC_REST_USERNAME=u\nRESTIC_REST_PASSWORD=swordfish"
    given = {"check_parts": "7", "prune_url": "rest:https://rag.example.org:8001/", "prune_credentials": lines}
    seen["operator"].post(other, {**given, "capacity_gib": "100"})
    second.refresh_from_db()
    assert (second.capacity_bytes, second.prune_url) == (100 * 2**30, given["prune_url"])
    kept = Path(second.prune_credentials_file)
    assert kept.read_text().splitlines() == lines.splitlines()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "swordfish" not in seen["operator"].get(reverse("upkeep", args=["second"])).content.decode()
