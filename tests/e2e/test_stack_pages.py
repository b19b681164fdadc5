"""Further stacks in a real browser: every page of them, and what a person does with them by click."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings

from portal.operations.models import State
from portal.stacks.models import Project
from portal.stacks.projects.secretfiles import GIT, secret_file
from tests.e2e.test_portal_pages import VIEWS, faults, in_database, sign_in
from tests.support import browser, portal_web, servers

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LONG = "a-very-long-name-of-a-stack-with-40-char"
MANY = [f"service-number-{number:02}-with-a-long-name" for number in range(20)]
FILE = "services:\n  web:\n    image: shop:${TAG:-1}\n    environment: [DB_PASSWORD]\n"


@pytest.fixture
def shop(settings: Settings, valkey_server: servers.Valkey, tmp_path: Path) -> Project:
    """One stack that needs something, one that is broken and large, and the product's own."""
    settings.VAR_DIR = tmp_path
    settings.VALKEY_URL = valkey_server.url
    portal_web.clients()
    portal_web.rows(tmp_path)
    broken = {"place": "compose/with/a/long/path/compose.yaml:104", "message": "services.web.ports[0]: expected a port"}
    portal_web.further(LONG, tmp_path, MANY, kind="folder", place=f"/srv/{'long/' * 20}shop", fault=broken)
    found = portal_web.further("shop", tmp_path, needs=portal_web.NEEDS)
    source = tmp_path / "stacks" / "shop" / "source"
    source.mkdir(parents=True)
    (source / "compose.yaml").write_text(FILE)
    portal_web.operation("project.fetch", State.RUNNING, target="stack:shop", progress={"stage": "Fetching"})
    return found


@pytest.fixture
def portal(shop: Project, valkey_server: servers.Valkey, tmp_path: Path) -> Iterator[str]:
    module = "tests.support.portal_projects.settings"
    with portal_web.portal_server(valkey_server, tmp_path, module=module) as address:
        yield address


@pytest.fixture
def chromium(portal: str) -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


def addresses() -> list[str]:
    needs = [{"what": need, "granted": False} for need in portal_web.NEEDS]
    plan = {**portal_web.DEPLOY_PLAN, "stack": "shop", "needs": needs, "backup": False, "touches": []}
    look = portal_web.operation("stack.plan", target="stack:shop", result={"plan": plan})
    one = [
        *(
            "",
            "project/",
            "deploy/",
            f"deploy/?plan={look.pk}",
            "releases/",
            "releases/2/",
            "releases/compare/?a=1&b=2",
        ),
        *("releases/1/roll-back/", "use/", "events/", "logs/", "logs/web/?q=x", "settings/"),
    ]
    added = [f"/stacks/add/?kind={kind}" for kind in ("git", "upload", "folder")]
    long = [f"/stacks/{LONG}/{page}" for page in ("", "project/", "settings/", "logs/")]
    return ["/stacks/", *added, *(f"/stacks/shop/{page}" for page in one), *long]


@pytest.mark.parametrize("view", VIEWS)
def test_no_page_of_a_further_stack_complains_overflows_or_is_hard_to_read(
    view: str, chromium: Browser, portal: str
) -> None:
    width, height, scheme = VIEWS[view]
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = context.new_page()
    complaints = browser.Complaints().watch(page)
    found = list[str]()
    in_database(lambda: found.extend(addresses()))
    sign_in(page, portal)
    wrong: dict[str, list[str]] = {}
    for address in found:
        page.goto(portal + address)
        page.wait_for_function("document.querySelectorAll('time[data-time]:not([title])').length === 0")
        for more in page.locator("main details:not(.confirm) > summary").all():
            more.click()
        wrong[address] = faults(page, width) + complaints.take()
        if folder := os.environ.get("PORTAL_SHOTS"):
            page.screenshot(path=Path(folder) / f"{view} {address.replace('/', '_')[:60]}.png", full_page=True)
    assert {address: said for address, said in wrong.items() if said} == {}


def test_a_project_is_added_agreed_to_changed_and_removed_by_click(chromium: Browser, portal: str) -> None:
    page = chromium.new_page()
    sign_in(page, portal)
    page.get_by_role("link", name="Stack", exact=True).click()
    page.get_by_role("link", name="All stacks").click()
    add_by_click(page)
    page.goto(f"{portal}/stacks/")
    page.get_by_label("What shop needs").click()
    expect(page.get_by_text("reads /srv/photos of this host")).to_be_visible()
    page.get_by_label("Type shop to agree to all that is listed").fill("shop")
    page.get_by_role("button", name="Agree").click()
    expect(page.get_by_text("the next deploy goes ahead")).to_be_visible()
    page.get_by_role("button", name="Make a secret").click()
    assert len(page.locator("#secret").inner_text()) > 40
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("TAG").fill("2")
    page.get_by_label("DB_PASSWORD").fill("a new password")
    page.get_by_role("button", name="Keep for the next deploy").click()
    expect(page.get_by_text("2 changes wait for the next deploy")).to_be_visible()
    assert "a new password" not in page.content()
    page.get_by_role("link", name="Project").click()
    page.get_by_role("heading", name="Remove it").click()
    page.get_by_label("Type shop to remove it").fill("shop")
    page.get_by_role("button", name="Remove the stack").click()
    expect(page.get_by_role("heading", name="Remove a stack")).to_be_visible()
    page.get_by_role("link", name="stack:shop").click()
    expect(page.get_by_role("heading", name="Stack shop")).to_be_visible()


def add_by_click(page: Page) -> None:
    page.get_by_role("link", name="Add a project").click()
    page.get_by_label("Name").fill("shop")
    page.get_by_label("Address").fill("https://me:pw@git.example.org/news.git")
    page.get_by_role("button", name="Add it and look at its files").click()
    expect(page.get_by_text("Leave the password out of the address")).to_be_visible()
    page.get_by_label("Name").fill("news")
    page.get_by_label("Address").fill("https://git.example.org/news.git")
    page.get_by_label("Token or password").fill("marker")
    page.get_by_role("button", name="Add it and look at its files").click()
    expect(page.get_by_role("heading", name="Fetch the project")).to_be_visible()
    assert "marker" in secret_file("news", GIT).read_text()


def test_a_running_project_is_adopted_by_click(chromium: Browser, portal: str) -> None:
    page = chromium.new_page()
    sign_in(page, portal)
    page.goto(f"{portal}/stacks/")
    expect(page.get_by_text("Cannot be adopted")).to_be_visible()
    page.get_by_label("Adopt blog").click()
    page.get_by_role("button", name="Adopt it").click()
    expect(page.get_by_role("heading", name="Adopt a running project")).to_be_visible()
    page.goto(f"{portal}/stacks/blog/")
    expect(page.get_by_text("Its files were not read yet")).to_be_visible()
