"""The page of logs: of one service and of all, searched, filtered, followed, kept as a file."""

from __future__ import annotations

import re

import pytest
from django.http import StreamingHttpResponse
from django.test import Client

from portal.core import places
from tests.support.portal_web import text_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db,
    pytest.mark.usefixtures("used"),
    # Only a server reads a stream as it is meant.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),
]


def write_log(service: str, *lines: str) -> None:
    logs = places.runtime().paths.root("rag") / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / f"{service}.log").write_text("".join(f"{line}\n" for line in lines))


def kept(answer: object) -> bytes:
    """What a browser would have of a download."""
    assert isinstance(answer, StreamingHttpResponse)
    return b"".join(iter(answer))


def test_a_log_is_shown_escaped_and_searched_without_regard_to_case(operator: Client) -> None:
    write_log("api", "GET /ready 200", "WARNING <b>slow</b> Search \x1b[31mred\x1b[0m", "GET /ready 200")
    assert "&lt;b&gt;slow&lt;/b&gt; Search red<" in text_of(operator, "/stack/logs/api/")
    found = text_of(operator, "/stack/logs/api/?q=search&lines=100")
    assert "<mark>Search</mark>" in found
    assert "/ready" not in found
    assert "1 of the last 3 lines" in found


def test_all_services_at_once_are_in_the_order_of_time(operator: Client) -> None:
    write_log("api", '{"at": "2026-11-22T12:00:01+00:00", "level": "info", "message": "one"}')
    write_log("ingest", '{"at": "2026-11-22T12:00:00+00:00", "level": "error", "message": "zero"}')
    found = text_of(operator, "/stack/logs/")
    assert re.findall(r'log__who">(\w+)<', found) == ["ingest", "api"]
    errors = text_of(operator, "/stack/logs/?level=error")
    assert re.findall(r'log__who">(\w+)<', errors) == ["ingest"]
    assert "1 of the last 2 lines" in errors


def test_no_secret_of_the_stack_is_shown_or_kept(operator: Client) -> None:
    secret = places.location(places.stack_spec("rag")).secret("internal_token")
    secret.parent.mkdir(parents=True)
    secret.write_text("tok-4711-marker\n")
    write_log("api", "sending tok-4711-marker to redis://:pw-marker@redis:6379")
    for address in ("/stack/logs/api/", "/stack/logs/", "/stack/logs/?q=tok-4711-marker"):
        assert "pw-marker" not in text_of(operator, address)
        assert "sending tok-4711" not in text_of(operator, address)
    assert b"marker" not in kept(operator.get("/stack/logs/api/download/"))


def test_following_polls_with_the_same_search_and_answers_nothing_when_nothing_is_new(operator: Client) -> None:
    write_log("api", "one")
    text = text_of(operator, "/stack/logs/api/?q=one&follow=on")
    assert 'hx-get="/stack/logs/api/?q=one&amp;follow=on" hx-trigger="every 2s"' in text
    assert "hx-trigger" not in text_of(operator, "/stack/logs/api/?q=one")
    seen = re.findall(r'name="seen" value="(\w+)"', text)[0]
    address = f"/stack/logs/api/?q=one&follow=on&seen={seen}"
    assert operator.get(address, headers={"HX-Request": "true"}).status_code == 204
    write_log("api", "one", "one more")
    answer = operator.get(address, headers={"HX-Request": "true"})
    assert "more" in answer.content.decode()


def test_a_log_is_downloaded_as_text(operator: Client) -> None:
    write_log("api", "one", "ERROR two")
    answer = operator.get("/stack/logs/api/download/")
    assert kept(answer) == b"one\nERROR two\n"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="api.log"'
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert kept(operator.get("/stack/logs/api/download/?level=error")) == b"ERROR two\n"


def test_everything_is_downloaded_with_a_line_above_each_service(operator: Client) -> None:
    write_log("api", "one")
    text = kept(operator.get("/stack/log-download/")).decode()
    assert "==== api\none\n" in text
    assert "==== nginx\n" in text


def test_a_service_that_does_not_exist_has_no_log(operator: Client) -> None:
    for address in ("/stack/logs/mainframe/", "/stack/logs/?service=mainframe", "/stack/logs/mainframe/download/"):
        assert operator.get(address).status_code == 404


def test_nonsense_in_the_address_counts_as_nothing(operator: Client) -> None:
    write_log("api", "one")
    assert "one" in text_of(operator, "/stack/logs/api/?lines=minus&level=loud&follow=x")
