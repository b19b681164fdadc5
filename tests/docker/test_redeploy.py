"""Five redeploys of api and chat while people work: nobody notices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, WebSocket, expect

from tests.support import deployed_stack
from tests.support.browser import chromium
from tests.support.deployed_stack import ADMIN, DeployedStack, People
from tests.support.docker_engine import Engine
from tests.support.servers import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

REDEPLOYS = 5
RECONNECT_SECONDS = 5.0
QUESTION = "When is the lighthouse of Utsira lit?"


@pytest.fixture(scope="module")
def product(images: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedStack]:
    with deployed_stack.deployed(images, tmp_path_factory.mktemp("product")) as found:
        with found.client() as client:
            deployed_stack.fact(client, lambda ready: wait_until(ready, what="the document", seconds=120))
        yield found


@dataclass
class Sockets:
    """When a page's connections to the chat's server ended and when the next one was there, in monotonic seconds."""

    opened: list[float] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)

    def watch(self, page: Page) -> Sockets:
        page.on("websocket", self._open)
        return self

    def _open(self, socket: WebSocket) -> None:
        self.opened.append(time.monotonic())
        socket.on("close", lambda _: self.closed.append(time.monotonic()))

    def longest_gap(self) -> float:
        """How long the page was without a connection at worst."""
        gaps = [min((after for after in self.opened if after > end), default=end + 999) - end for end in self.closed]
        return max(gaps, default=0.0)


@contextmanager
def open_chat(product: DeployedStack) -> Iterator[tuple[Page, Sockets]]:
    """A browser with a conversation in it."""
    with chromium() as browser:
        page = browser.new_page()
        sockets = Sockets().watch(page)
        _visit(page, product.url)
        page.get_by_label("E-mail").fill(ADMIN)
        page.get_by_label("Password", exact=True).fill(product.secret("admin_password"))
        page.get_by_role("button", name="Sign in").click()
        field = page.get_by_test_id("stChatInput").locator("textarea")
        field.wait_for(timeout=60_000)
        field.fill(QUESTION)
        field.press("Enter")
        expect(page.get_by_test_id("stExpander").first).to_be_visible(timeout=120_000)
        expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
        yield page, sockets


def _visit(page: Page, url: str) -> None:
    # Chromium gives up what it loads when containers come and go: it takes that for another network.
    for attempt in range(5):
        try:
            page.goto(url)
            return
        except Error:
            if attempt == 4:
                raise


def test_nobody_notices_five_redeploys(product: DeployedStack) -> None:
    with open_chat(product) as (page, sockets):
        address, before = page.url, product.runtime.status(product.spec)
        with deployed_stack.at_work(product) as people:
            for number in range(REDEPLOYS):
                people.begin_answer()
                wait_until(partial(_streams, people, number), what="the beginning of an answer", seconds=60)
                plan = product.runtime.apply(product.release(str(number)))
                replaced = [change.service for change in plan.changes if "configuration" in change.causes]
                assert replaced == ["api", "frontend"]
                page.wait_for_timeout(1000)
            # The page's events are heard only while it is asked something.
            wait_until(lambda: _is_back(page, sockets), what="the chat", seconds=30)
        assert people.failed() == []
        assert people.count("search") > 300
        assert people.count("upload") > 15
        assert people.count("ask") == REDEPLOYS
        slowest = people.slowest()
        assert slowest.seconds < 2, slowest
        assert len(sockets.closed) >= REDEPLOYS
        assert sockets.longest_gap() < RECONNECT_SECONDS
        assert page.url == address
        expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
        expect(page.get_by_test_id("stExpander").first).to_be_visible()
    after = {status.service: status.since for status in product.runtime.status(product.spec)}
    kept = {status.service: status.since for status in before if status.service not in ("api", "frontend")}
    assert {name: after[name] for name in kept} == kept, "nothing else was touched"


def _streams(people: People, before: int) -> bool:
    return people.streaming > before


def _is_back(page: Page, sockets: Sockets) -> bool:
    page.wait_for_timeout(100)
    return len(sockets.opened) > len(sockets.closed)


def test_an_answer_in_the_chat_is_finished_although_its_server_is_replaced(product: DeployedStack) -> None:
    with open_chat(product) as (page, _sockets):
        field = page.get_by_test_id("stChatInput").locator("textarea")
        field.fill("And what does the book of the keeper say of Utsira?")
        field.press("Enter")
        expect(page.get_by_test_id("stChatMessage")).to_have_count(4, timeout=60_000)
        product.runtime.apply(product.release("answering"))
        expect(page.get_by_test_id("stChatMessage")).to_have_count(4, timeout=60_000)
        expect(page.get_by_text("This question was not answered.")).to_have_count(0)


def test_the_files_of_a_release_hold_no_secret(product: DeployedStack, tmp_path: Path) -> None:
    release = product.runtime.rendered(product.spec)
    assert set(release.images) == set(release.contents)
    assert all(image.startswith("sha256:") or "@sha256:" in image for image in release.images.values())
    kept = release.text + str(release.images) + str(release.contents)
    assert [name for name in product.spec.secrets if product.secret(name) in kept] == []
