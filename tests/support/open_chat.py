"""A browser with a conversation open in the chat, and what becomes of its connection while something is done to the
stack."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Error, Page, WebSocket, expect

from tests.support.browser import chromium
from tests.support.deployed_stack import ADMIN, DeployedStack

QUESTION = "When is the lighthouse of Utsira lit?"
PATIENCE_SECONDS = 30.0
# How exact the moments are: the browser's events are heard when it is asked something.
LISTENING_MS = 50.0


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

    @property
    def is_connected(self) -> bool:
        return len(self.opened) > len(self.closed)

    def longest_gap(self) -> float:
        """How long the page was without a connection at worst, in seconds; until now where it still is."""
        now = time.monotonic()
        gaps = [min((after for after in self.opened if after > end), default=now) - end for end in self.closed]
        return max(gaps, default=0.0)


@dataclass(frozen=True)
class OpenChat:
    """The page with one question and its answer, and its connections."""

    page: Page
    sockets: Sockets

    def meanwhile(self, act: Callable[[], None]) -> None:
        """Do something in another thread and listen to the page until it is done; raises what it raises."""
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(act)
            while not done.done():
                self.listen()
            done.result()

    def listen(self, milliseconds: float = LISTENING_MS) -> None:
        """Have what happened to the page since reported."""
        self.page.wait_for_timeout(milliseconds)

    def settle(self) -> None:
        """Wait until the page is connected again; it may never be, which the gap tells."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.sockets.is_connected and time.monotonic() < end:
            self.listen()

    def is_whole(self) -> bool:
        """Whether question, answer and its passage are still there."""
        messages = self.page.get_by_test_id("stChatMessage").count()
        return messages == 2 and self.page.get_by_test_id("stExpander").first.is_visible()


@contextmanager
def open_chat(product: DeployedStack) -> Iterator[OpenChat]:
    """A browser, signed in, in which one question was asked and answered."""
    with chromium() as browser:
        page = browser.new_page()
        chat = OpenChat(page, Sockets().watch(page))
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
        yield chat


def _visit(page: Page, url: str) -> None:
    # Chromium gives up what it loads when containers come and go: it takes that for another network.
    for attempt in range(5):
        try:
            page.goto(url)
            return
        except Error:
            if attempt == 4:
                raise
