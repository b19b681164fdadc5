"""Every page of the portal in a real browser: narrow and wide, light and dark, by keyboard, live."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection, transaction
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings

from backups import trees
from backups.trees import Entry
from portal.operations.events import announce
from portal.operations.models import Operation, State, Step
from tests.support import browser, portal_web, servers
from tests.support.portal_web import Rows

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

VIEWS = {"wide light": (1360, 900, "light"), "wide dark": (1360, 900, "dark"), "narrow": (360, 740, "light")}

# Elements of the page whose text does not stand out enough from what is behind it (WCAG AA: 4.5, or 3 when large).
PALE = """() => {
  const rgba = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const pale = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !e.checkVisibility()) continue;
    if (e.closest(".sr, .skip, noscript, :disabled")) continue;
    const style = getComputedStyle(e), px = parseFloat(style.fontSize);
    const [a, b] = [light(rgba(style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = px >= 24 || (px >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) pale.push(`${texts.currentNode.data.trim()} (${ratio.toFixed(2)})`);
  }
  return pale;
}"""

# Controls that a screen reader could not name.
NAMELESS = """() => [...document.querySelectorAll("a, button, input:not([type=hidden]), select, progress, summary")]
  .filter((e) => !(e.labels?.length || e.ariaLabel || e.getAttribute("aria-labelledby") || e.innerText?.trim()
    || e.querySelector("svg[aria-label]") || !e.checkVisibility()))
  .map((e) => e.outerHTML.slice(0, 120))"""

TWICE = """() => {
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  return ids.filter((id, at) => ids.indexOf(id) !== at);
}"""


@pytest.fixture
def used(settings: Settings, valkey_server: servers.Valkey, tmp_path: Path) -> Rows:
    settings.VAR_DIR = tmp_path
    settings.VALKEY_URL = valkey_server.url
    portal_web.clients()
    made = portal_web.rows(tmp_path)
    names = ("report.pdf", 'a "quoted" name\nin two lines.txt', "a very long name " * 12)
    found = [Entry(("documents", name), f"/x/{number}", 5_000_000) for number, name in enumerate(names)]
    trees.write(tmp_path / "control" / "trees" / f"{made.good.pk}.sqlite3", found)
    return made


@pytest.fixture
def running(used: Rows) -> Operation:
    return portal_web.operation(state=State.RUNNING, progress={"stage": "dump", "fraction": 0.25, "counts": {}})


@pytest.fixture
def portal(running: Operation, valkey_server: servers.Valkey, tmp_path: Path) -> Iterator[str]:
    with portal_web.portal_server(valkey_server, tmp_path) as address:
        yield address


@pytest.fixture
def chromium(portal: str) -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


def addresses(used: Rows, running: Operation) -> list[str]:
    good = f"/sets/{used.good.pk}/"
    shown = [f"/operations/{row.pk}/" for row in (running, used.failed, used.done)]
    return [
        "/", "/stack/", "/stack/logs/api/?q=x&follow=on", "/stack/logs/", "/stack/use/", "/stack/events/",
        "/stack/use/?range=7d", "/doctor/", "/stack/settings/", "/stack/clean-up/",
        "/sets/", good, f"/sets/{used.partial.pk}/",
        f"{good}restore/", f"{good}restore/?look=1", f"{good}restore/preview/",
        "/sets/?state=partial&pinned=on", f"{good}browse/",
        f"{good}browse/?path=/documents", f"/sets/{used.partial.pk}/browse/", "/operations/", *shown, "/help/",
        "/password/", "/repositories/", "/repositories/default/", "/repositories/add/?kind=s3",
        "/repositories/add/?kind=sftp", "/repositories/default/change/", "/sources/",
        "/stack/deploy/", f"/stack/deploy/?plan={used.look.pk}", "/releases/", "/releases/2/", "/releases/3/",
        "/releases/compare/?a=1&b=2", "/releases/1/roll-back/",
        "/plans/", "/plans/nightly/", "/plans/nightly/change/", "/plans/add/",
    ]  # fmt: skip


def sign_in(page: Page, portal: str) -> None:
    page.goto(f"{portal}/sign-in/")
    page.get_by_label("E-mail address").fill(portal_web.OPERATOR)
    page.get_by_label("Password").fill(portal_web.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{portal}/")


def in_database(act: Callable[[], None]) -> None:
    """Use the database beside Playwright, whose event loop Django takes for an asynchronous caller."""

    def closed() -> None:
        try:
            act()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(closed).result()


def faults(page: Page, width: int) -> list[str]:
    found = [f"pale: {text}" for text in page.evaluate(PALE)]
    found += [f"nameless: {text}" for text in page.evaluate(NAMELESS)]
    found += [f"twice: {text}" for text in page.evaluate(TWICE)]
    wide = page.evaluate("document.documentElement.scrollWidth")
    return found + ([f"{wide} px wide"] if wide > width else [])


@pytest.mark.parametrize("view", VIEWS)
def test_no_page_complains_overflows_or_is_hard_to_read(
    view: str, chromium: Browser, portal: str, used: Rows, running: Operation
) -> None:
    width, height, scheme = VIEWS[view]
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = context.new_page()
    complaints = browser.Complaints().watch(page)
    wrong: dict[str, list[str]] = {}
    page.goto(f"{portal}/sign-in/")
    wrong["/sign-in/"] = faults(page, width) + complaints.take()
    sign_in(page, portal)
    for address in addresses(used, running):
        page.goto(portal + address)
        page.wait_for_function("document.querySelectorAll('time[data-time]:not([title])').length === 0")
        wrong[address] = faults(page, width) + complaints.take()
        if folder := os.environ.get("PORTAL_SHOTS"):
            page.screenshot(path=Path(folder) / f"{view} {address.replace('/', '_')}.png", full_page=True)
    page.goto(f"{portal}/nothing/")
    wrong["/nothing/"] = faults(page, width)
    assert {address: found for address, found in wrong.items() if found} == {}


def test_progress_appears_without_a_reload(chromium: Browser, portal: str, running: Operation) -> None:
    page = chromium.new_page()
    sign_in(page, portal)
    page.goto(f"{portal}/operations/{running.pk}/")
    expect(page.get_by_text("25 %")).to_be_visible()
    page.evaluate("window.untouched = true")
    with page.expect_request(lambda request: request.headers.get("hx-trigger") == "panel", timeout=15_000):
        in_database(lambda: further(running))
    expect(page.get_by_text("75 %")).to_be_visible()
    in_database(lambda: finish(running))
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=15_000)
    assert page.evaluate("window.untouched") is True


def further(running: Operation) -> None:
    with transaction.atomic():
        Operation.objects.filter(pk=running.pk).update(progress={"stage": "dump", "fraction": 0.75}, seq=2)
        announce(running)


def finish(running: Operation) -> None:
    with transaction.atomic():
        Step.objects.filter(operation=running).update(state="done")
        Operation.objects.filter(pk=running.pk).update(state=State.SUCCEEDED, seq=3)
        announce(running)


def test_the_portal_works_by_keyboard_and_remembers_its_colours(chromium: Browser, portal: str) -> None:
    page = chromium.new_page(color_scheme="light")
    sign_in(page, portal)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.get_by_role("button", name="Dark").focus()
    page.keyboard.press("Enter")
    page.goto(f"{portal}/help/")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")


def test_everything_works_without_a_script(chromium: Browser, portal: str, used: Rows, running: Operation) -> None:
    in_database(lambda: finish(running))
    page = chromium.new_context(java_script_enabled=False).new_page()
    sign_in(page, portal)
    expect(page.get_by_text("UTC").first).to_be_visible()
    page.goto(f"{portal}/sets/{used.good.pk}/restore/")
    page.get_by_role("button", name="See what would change").click()
    page.get_by_label("Type the name of the stack to confirm").fill("wrong")
    page.get_by_role("button", name="Restore this set").click()
    expect(page.get_by_text("That is not the name of the stack")).to_be_visible()
    page.goto(f"{portal}/sets/")
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_role("heading", name="Backup", exact=True)).to_be_visible()
    expect(page.get_by_text("Queued").first).to_be_visible()
