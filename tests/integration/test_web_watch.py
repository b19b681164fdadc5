"""The pages of use and events, and what a service's More does."""

from __future__ import annotations

import pytest
from django.test import Client

from portal.operations.models import Operation
from tests.support.portal_web import text_of

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.usefixtures("used")]


def test_use_is_drawn_for_every_service_that_was_seen(seen: dict[str, Client]) -> None:
    text = text_of(seen["reader"], "/stack/use/")
    assert text.count('role="img" aria-label="Processor: ') == 3
    assert 'aria-label="Memory: ' in text
    assert 'aria-label="Disk: ' in text
    # This runtime does not know what goes through whose network.
    assert "Network" not in text
    assert text.index('id="use-postgres"') < text.index('id="use-api"')


@pytest.mark.parametrize("chosen", ["24h", "7d", "nonsense", ""])
def test_use_of_any_time_is_a_page(seen: dict[str, Client], chosen: str) -> None:
    assert 'class="chart__line" d="M' in text_of(seen["reader"], f"/stack/use/?range={chosen}")


def test_events_read_in_words_and_are_filtered(seen: dict[str, Client]) -> None:
    text = text_of(seen["reader"], "/stack/events/")
    assert "Out of memory" in text
    assert "Ended by itself" in text
    assert text.count('data-label="What"') == 8
    assert text_of(seen["reader"], "/stack/events/?kind=gave_up").count('data-label="What"') == 1
    assert "Nothing of that kind" in text_of(seen["reader"], "/stack/events/?service=redis")
    assert text_of(seen["reader"], "/stack/events/?kind=nonsense&page=99").count('data-label="What"') == 8


def test_curves_stand_beside_the_services(seen: dict[str, Client]) -> None:
    assert 'class="spark"' in text_of(seen["operator"], "/stack/")


def test_one_service_is_recreated(seen: dict[str, Client]) -> None:
    answer = seen["operator"].post("/stack/act/", {"action": "recreate", "service": "api"})
    made = Operation.objects.get(kind="stack.recreate")
    assert answer.headers["Location"] == f"/operations/{made.pk}/"
    assert made.params == {"service": "api"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"action": "recreate"}, "No service was named."),
        ({"action": "scale", "service": "api", "instances": "51"}, "A service has 1 to 50 instances."),
        ({"action": "scale", "service": "api", "instances": "-1"}, "A service has 1 to 50 instances."),
        ({"action": "scale", "service": "api"}, "A service has 1 to 50 instances."),
        ({"action": "scale", "service": "api", "instances": "2"}, "have one instance"),
        ({"action": "scale", "service": "mainframe", "instances": "1"}, "no service mainframe"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    seen: dict[str, Client], fields: dict[str, str], sentence: str
) -> None:
    before = Operation.objects.count()
    answer = seen["operator"].post("/stack/act/", fields, follow=True)
    assert sentence in answer.content.decode()
    assert Operation.objects.count() == before
