"""One person, one browser: sign in, upload, ask, back up, delete, restore, ask again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import chromium
from tests.support.documents import pdf
from tests.support.product import Product

pytestmark = pytest.mark.browser

EMAIL = "admin@ragkeep.local"
QUESTION = "In which year did the ferry Skarvsund begin its service?"
FACT = "The ferry Skarvsund began its service in 1911 and crosses the sound four times a day."
# What the machine has to do behind a click: two busy cores and a language model.
PATIENCE = 90_000


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def open_chat(browser: Browser, product: Product) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(product.url)
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(product.secret("admin_password"))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_test_id("stChatInput").wait_for()
    return page


def open_portal(browser: Browser, product: Product) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(f"{product.url}/portal/")
    assert page.url.startswith(f"http://127.0.0.1:{product.port + 1}/"), "the portal has an origin of its own"
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(
        (product.var / "control" / "secrets" / "admin_password").read_text().strip()
    )
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    return page


def upload(page: Page, path: Path) -> None:
    page.get_by_role("link", name="Documents").click()
    page.set_input_files("[data-testid=stFileUploader] input", path)
    under_way = page.get_by_text("1 on their way", exact=True)
    expect(under_way).to_be_visible(timeout=PATIENCE)
    expect(under_way).to_be_hidden(timeout=PATIENCE)


def ask(page: Page) -> None:
    page.get_by_role("link", name="Chat").click()
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_text("What would you like to know?")).to_be_visible()
    box = page.get_by_test_id("stChatInput").locator("textarea")
    box.fill(QUESTION)
    box.press("Enter")


def expect_citation(page: Page) -> None:
    source = page.get_by_test_id("stExpander").filter(has_text="ferry.pdf").first
    expect(source).to_be_visible(timeout=PATIENCE)
    source.locator("summary").click()
    expect(source.get_by_text(FACT[:40])).to_be_visible()


def back_up(page: Page) -> None:
    page.get_by_role("button", name="Back up now").first.click()
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=PATIENCE)


def delete_everywhere(product: Product) -> None:
    with product.api() as api:
        for item in api.get("/api/documents", params={"limit": 200}).json()["documents"]:
            if item["name"] == "ferry.pdf":
                api.delete(f"/api/documents/{item['id']}").raise_for_status()


def restore_newest(page: Page, product: Product, *, stack: str = "rag") -> None:
    page.goto(f"http://127.0.0.1:{product.port + 1}/sets/")
    page.get_by_role("link", name="Restore").first.click()
    page.get_by_label("Come back").check()
    page.get_by_role("button", name="See what would change").click()
    page.get_by_label("Type the name of the stack").fill(stack)
    page.get_by_role("button", name="Restore this set").click()
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=PATIENCE)


def test_the_whole_journey(product: Product, browser: Browser, tmp_path: Path) -> None:
    journey(product, browser, tmp_path)


def journey(product: Product, browser: Browser, tmp_path: Path, *, stack: str = "rag") -> None:
    """The whole way of one person through chat and portal."""
    path = tmp_path / "ferry.pdf"
    path.write_bytes(pdf("About the sound.", FACT))
    chat = open_chat(browser, product)
    upload(chat, path)
    ask(chat)
    expect_citation(chat)

    portal = open_portal(browser, product)
    back_up(portal)

    delete_everywhere(product)
    ask(chat)
    expect(chat.get_by_text("not in your documents").last).to_be_visible(timeout=PATIENCE)

    restore_newest(portal, product, stack=stack)
    portal.goto(f"http://127.0.0.1:{product.port + 1}/")
    portal.get_by_role("button", name="Keep the restore").click()

    again = open_chat(browser, product)
    ask(again)
    expect_citation(again)
