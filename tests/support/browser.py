"""A real Chromium, driven by Playwright."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from config import tiers

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The distribution's Chromium, headless; a machine without one skips the test."""
    path = tiers.chromium(os.environ)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Complaints:
    """What a page's console said since it was last asked: errors, refused content, failed requests."""

    texts: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> Complaints:
        page.on("console", lambda message: self._hear(message))
        page.on("pageerror", lambda error: self.texts.append(str(error)))
        return self

    def take(self) -> list[str]:
        """Everything since the last call."""
        said, self.texts = self.texts, []
        return said

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.texts.append(message.text)
