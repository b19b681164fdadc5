"""A terminal in a real browser: through the portal and a worker into a shell, and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from django.db import connection
from playwright.sync_api import Page, expect
from pytest_django import Settings

from portal.core.models import AuditEntry
from portal.stacks.services import stack_ensure
from portal.terminal.models import TerminalPolicy, TerminalSession
from tests.support import browser, portal_web, servers, terminal_site

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

R = TypeVar("R")


@pytest.fixture
def portal(settings: Settings, valkey_server: servers.Valkey, tmp_path: Path) -> Iterator[str]:
    settings.VAR_DIR = tmp_path
    settings.VALKEY_URL = valkey_server.url
    portal_web.clients()
    stack_ensure(name="rag")
    TerminalPolicy.objects.create(pk=1, enabled=True, idle_minutes=15)
    with terminal_site.site(valkey_server, tmp_path) as address:
        yield address


@pytest.fixture
def page(portal: str) -> Iterator[Page]:
    with browser.chromium() as started:
        context = started.new_context(viewport={"width": 1360, "height": 900})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield context.new_page()


def outside(act: Callable[[], R]) -> R:
    """Use the database beside Playwright, whose event loop Django takes for an asynchronous caller."""

    def closed() -> R:
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(closed).result()


def opened(page: Page, portal: str, service: str = "api") -> None:
    sign_in(page, portal)
    page.get_by_label("Service", exact=True).select_option(service)
    page.get_by_label("Your password").fill(portal_web.PASSWORD)
    page.get_by_role("button", name="Open a terminal").click()
    expect(page.locator("#terminal-state")).to_have_text("Open", timeout=20_000)


def typed(page: Page, command: str) -> None:
    page.keyboard.type(command)
    page.keyboard.press("Enter")


def row(page: Page, text: str) -> None:
    """A whole line of the screen is this."""
    expect(page.locator(".term__row").filter(has_text=re.compile(f"^{re.escape(text)}$")).last).to_be_visible()


def sign_in(page: Page, portal: str, account: str = portal_web.OPERATOR) -> None:
    page.goto(f"{portal}/sign-in/?next=/stack/terminal/")
    page.get_by_label("E-mail address").fill(account)
    page.get_by_label("Password").fill(portal_web.PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def sessions() -> list[tuple[str, str, str]]:
    return list(TerminalSession.objects.values_list("service", "user_name", "reason"))


def test_a_shell_obeys_is_interrupted_resized_and_left(page: Page, portal: str) -> None:
    complaints = browser.Complaints().watch(page)
    opened(page, portal)
    typed(page, "echo $((40 + 2)) $TERM; pwd >/dev/null; echo ä日本語")
    row(page, "42 xterm-256color")
    row(page, "ä日本語")

    typed(page, "echo begun; sleep 600; echo woken")
    row(page, "begun")
    page.keyboard.press("Control+c")
    typed(page, "echo status $?")
    row(page, "status 130")

    typed(page, "stty size")
    before = page.evaluate("document.querySelectorAll('.term__row').length")
    page.set_viewport_size({"width": 900, "height": 700})
    page.wait_for_timeout(300)
    typed(page, 'set -- $(stty size); echo "now $1x$2"')
    expect(page.locator("#terminal")).to_contain_text(re.compile(r"now \d+x\d+"))
    assert before

    typed(page, "exit")
    expect(page.locator("#terminal-state")).to_have_text("Ended: the shell ended")
    assert outside(sessions) == [("api", portal_web.OPERATOR, "exit")]
    audited = outside(lambda: list(AuditEntry.objects.order_by("id").values_list("action", "target", "actor_name")))
    assert [entry for entry in audited if entry[0].startswith("terminal")] == [
        ("terminal.opened", "stack:rag/api", portal_web.OPERATOR),
        ("terminal.ended", "stack:rag/api", portal_web.OPERATOR),
    ]
    assert complaints.take() == []


def test_only_administrators_and_only_where_it_is_allowed(page: Page, portal: str) -> None:
    sign_in(page, portal, portal_web.READER)
    expect(page.get_by_text("Only administrators may do this.")).to_be_visible()
    page.context.clear_cookies()

    opened(page, portal)
    other = page.context.new_page()
    other.goto(f"{portal}/stack/terminal/")
    other.get_by_label("Allow terminals").uncheck()
    other.get_by_role("button", name="Keep").click()
    expect(other.get_by_text("Terminals are switched off.").first).to_be_visible()
    expect(other.get_by_role("button", name="Open a terminal")).to_have_count(0)
    expect(page.locator("#terminal-state")).to_have_text("Ended: terminals were switched off")
    assert outside(sessions) == [("api", portal_web.OPERATOR, "switched_off")]


def test_it_survives_a_reload_and_copies_and_pastes(page: Page, portal: str) -> None:
    opened(page, portal)
    typed(page, "number=41; clear")
    typed(page, "echo before $((number + 1))")
    row(page, "before 42")
    page.reload()
    row(page, "before 42")
    typed(page, "echo still $((number + 2))")
    row(page, "still 43")

    page.locator(".term__row").filter(has_text=re.compile("^still 43$")).dblclick(position={"x": 5, "y": 5})
    page.keyboard.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()").strip() == "still"
    page.evaluate("navigator.clipboard.writeText('echo pasted $((number + 3))')")
    page.keyboard.press("Control+Shift+v")
    page.keyboard.press("Enter")
    row(page, "pasted 44")
    page.keyboard.press("Shift+F6")
    expect(page.get_by_role("button", name="End it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Before")).to_be_visible(timeout=10_000)
