"""The images of a stack in containers on its page, in a real browser: light, dark and narrow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect
from pytest_django import Settings

from portal.stacks.models import ImageLook, Stack
from tests.e2e.test_portal_pages import VIEWS, faults, sign_in
from tests.support import browser, portal_web, servers
from tests.support.fake_registry import fake_registry

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DIGEST = f"sha256:{'a' * 64}"


def look(stack: Stack, reference: str, *services: str, **told: object) -> None:
    known = {"digest": DIGEST, "looked_at": timezone.now(), **told}
    ImageLook.objects.create(stack=stack, reference=reference, services=services, **known)


@pytest.fixture
def portal(
    settings: Settings, valkey_server: servers.Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """One image of each condition, on an engine that has no containers."""
    settings.VAR_DIR, settings.VALKEY_URL = tmp_path, valkey_server.url
    portal_web.clients()
    stack = portal_web.rows(tmp_path).stack
    touched = {"interrupted": ["postgres"], "touches": ["postgres is replaced: it keeps the data of postgres"]}
    look(stack, "postgres:18.4", "postgres", newer_tag="18.5", setting="POSTGRES_IMAGE", effect=touched)
    look(stack, "registry.example.org/team/rag-api:1", "api", "ingest", newer_digest=f"{DIGEST[:-1]}b",
         effect={"interrupted": ["ingest"], "touches": []})  # fmt: skip
    look(stack, "redis:8.2.3-alpine", "redis")
    look(stack, "nginx:1.28-alpine", "nginx", fault="docker.io did not tell of nginx:1.28-alpine: no such host")
    look(stack, "ragkeep/frontend:0.1.0", "frontend", digest="")
    with fake_registry() as engine:
        monkeypatch.setenv("RAGKEEP_RUNTIME", "compose")
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{engine.address}")
        with portal_web.portal_server(valkey_server, tmp_path) as address:
            yield address


@pytest.fixture
def chromium(portal: str) -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


@pytest.mark.parametrize("view", VIEWS)
def test_images_can_be_read_and_what_is_newer_deployed(view: str, chromium: Browser, portal: str) -> None:
    width, height, scheme = VIEWS[view]
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = context.new_page()
    complaints = browser.Complaints().watch(page)
    sign_in(page, portal)
    page.goto(f"{portal}/stack/")
    page.wait_for_function("document.querySelectorAll('time[data-time]:not([title])').length === 0")
    assert faults(page, width) + complaints.take() == []
    page.get_by_text("Deploy newer images").click()
    expect(page.get_by_role("button", name="Fetch and deploy")).to_be_visible()
    assert faults(page, width) == []
    if folder := os.environ.get("PORTAL_SHOTS"):
        page.screenshot(path=Path(folder) / f"updates {view}.png", full_page=True)
    page.get_by_role("button", name="Fetch and deploy").click()
    page.wait_for_url(f"{portal}/operations/*/")
