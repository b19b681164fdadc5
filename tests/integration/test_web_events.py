"""The portal under a real uvicorn with a real Valkey: the event stream, static files, headers."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
import redis
from django.db import connection, transaction
from pytest_django import Settings

from portal.operations.events import CHANNEL, announce
from portal.operations.models import Operation, State
from tests.support import portal_web, servers

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def portal(
    django_db_setup: None, valkey_server: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with portal_web.portal_server(valkey_server, tmp_path_factory.mktemp("var")) as address:
        yield address


@pytest.fixture(autouse=True)
def channel(settings: Settings, valkey_server: servers.Valkey) -> None:
    settings.VALKEY_URL = valkey_server.url


@pytest.fixture
def operator(portal: str) -> Iterator[httpx.Client]:
    """Signed in through the form, as a browser does it."""
    portal_web.clients()
    with httpx.Client(base_url=portal, timeout=20) as client:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/sign-in/").text)
        assert token is not None
        fields = {"csrfmiddlewaretoken": token[1], "username": portal_web.OPERATOR, "password": portal_web.PASSWORD}
        assert client.post("/sign-in/", data=fields, headers={"Origin": portal}).status_code == 302
        yield client


class Stream:
    """The events of one open answer."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def next(self) -> tuple[str, dict[str, Any]]:
        """The next event with its data; comments and `retry` are passed over."""
        name = ""
        for line in self._lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                return name, json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream ended")


def listeners(valkey: servers.Valkey) -> int:
    with redis.Redis.from_url(valkey.url) as client:
        return int(dict(client.pubsub_numsub(CHANNEL))[CHANNEL.encode()])


def changed(row: Operation) -> None:
    with transaction.atomic():
        announce(row)


def test_a_change_reaches_the_open_page(operator: httpx.Client) -> None:
    mine, other = portal_web.operation(state=State.RUNNING), portal_web.operation()
    with operator.stream("GET", f"/events/?operation={mine.pk}") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["X-Accel-Buffering"] == "no"
        stream = Stream(answer)
        assert stream.next() == ("ready", {})
        changed(other)
        changed(mine)
        assert stream.next() == ("operation", {"id": str(mine.pk), "seq": 1})


def test_changes_in_a_burst_are_told_once_each(operator: httpx.Client) -> None:
    rows = [portal_web.operation(state=State.RUNNING) for _ in range(2)]
    with operator.stream("GET", "/events/") as answer:
        stream = Stream(answer)
        stream.next()
        for _ in range(20):
            for row in rows:
                changed(row)
        told = [stream.next()[1]["id"] for _ in rows]
    assert sorted(told) == sorted(str(row.pk) for row in rows)


def test_streams_hold_neither_the_event_loop_nor_a_database_connection(
    operator: httpx.Client, valkey_server: servers.Valkey
) -> None:
    with operator.stream("GET", "/events/") as first, operator.stream("GET", "/events/") as second:
        streams = Stream(first), Stream(second)
        assert [stream.next() for stream in streams] == [("ready", {})] * 2
        assert listeners(valkey_server) == 2
        assert operator.get("/help/").status_code == 200
        servers.wait_until(
            lambda: other_connections() == 0, what="the streams' database connections to close", seconds=5
        )


def test_a_page_that_is_left_stops_listening(operator: httpx.Client, valkey_server: servers.Valkey) -> None:
    with operator.stream("GET", "/events/") as answer:
        stream = Stream(answer)
        stream.next()
        assert listeners(valkey_server) == 1
    servers.wait_until(lambda: listeners(valkey_server) == 0, what="the end of the subscription", seconds=5)


def test_nobody_listens_without_signing_in(portal: str) -> None:
    assert httpx.get(f"{portal}/events/").headers["Location"] == "/sign-in/?next=/events/"


def test_a_reader_may_listen(portal: str) -> None:
    client = portal_web.clients()["reader"]
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    with httpx.stream("GET", f"{portal}/events/", cookies=cookies) as answer:
        assert Stream(answer).next() == ("ready", {})


def test_an_id_that_is_none_is_refused(operator: httpx.Client) -> None:
    assert operator.get("/events/?operation=1%20or%201").status_code == 400
    with operator.stream("GET", f"/events/?operation={uuid.uuid4()}") as answer:
        assert Stream(answer).next() == ("ready", {})


def test_what_a_page_needs_is_served_and_may_be_kept_for_ever(portal: str) -> None:
    page = httpx.get(f"{portal}/sign-in/").text
    assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(assets) >= 9
    for asset in assets:
        answer = httpx.get(portal + asset.replace("&amp;", "&"))
        assert answer.status_code == 200, asset
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        again = httpx.get(portal + asset, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert "immutable" not in httpx.get(f"{portal}/static/web/css/base.css").headers["Cache-Control"]


@pytest.mark.parametrize(
    "path", ["/static/../config/env.py", "/static/%2e%2e/views.py", "/static/web/", "/static/no.css"]
)
def test_nothing_else_is_served(portal: str, path: str) -> None:
    assert httpx.get(portal + path).status_code == 404


def test_a_page_may_load_only_from_here(portal: str) -> None:
    for path in ("/sign-in/", "/nothing/", "/"):
        headers = httpx.get(portal + path).headers
        assert "script-src 'self';" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert "no-store" in headers["Cache-Control"]


def test_a_form_of_another_site_is_refused(operator: httpx.Client, portal: str) -> None:
    answer = operator.post("/sets/back-up/", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert not Operation.objects.filter(kind="backup").exists()


def other_connections() -> int:
    """Connections to this test's database that are not the test's own."""
    settings = connection.settings_dict
    with psycopg.connect(
        host=settings["HOST"],
        port=settings["PORT"],
        user=settings["USER"],
        password=settings["PASSWORD"],
        dbname="postgres",
    ) as outside:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> %s"
        with connection.cursor() as mine:
            mine.execute("SELECT pg_backend_pid()")
            own = mine.fetchone()[0]
        row = outside.execute(query, (settings["NAME"], own)).fetchone()
        assert row is not None
        return int(row[0])
