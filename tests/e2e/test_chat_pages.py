"""The chat in a real browser: signing in and staying so, answers with their passages, documents; and nothing leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import browser, servers
from tests.support.chat_site import ChatSite, chat_site
from tests.support.rag_stack import ADMIN, RagStack, rag_stack

pytestmark = pytest.mark.browser

KEEP = "The keep of the castle has four towers. The eastern tower holds the library of the castle."
HOSTILE = (
    "See [1] and ![x](https://evil.example/a.png) or [here](https://evil.example), www.evil.example, "
    "http://evil.example/q, mail@evil.example <img src='https://evil.example/b.png'>"
)


@dataclass(frozen=True, slots=True)
class World:
    rag: RagStack
    site: ChatSite
    admin: httpx.Client


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: servers.Postgres,
    valkey_server: servers.Valkey,
    model_server_url: str,
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("chat")
    with (
        servers.chroma(folder / "vectors") as vectors,
        rag_stack(folder / "rag", postgres_server, valkey_server, vectors.url, model_server_url) as rag,
        chat_site(folder, rag) as site,
        rag.admin() as admin,
    ):
        rag.start_ingest()
        admin.post("/api/documents", files={"file": ("keep.txt", KEEP.encode())}).raise_for_status()
        assert rag.settled(admin) == {"ready": 1}
        yield World(rag, site, admin)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as found:
        yield found


@pytest.fixture
def visited() -> list[str]:
    """Every address the page asked for."""
    return []


@pytest.fixture
def page(chromium: Browser, world: World, visited: list[str]) -> Iterator[Page]:
    """A new visitor; whatever the test does, no request may leave the chat's origin and nothing may be refused."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    opened.on("request", lambda request: visited.append(request.url))
    complaints = browser.Complaints().watch(opened)
    yield opened
    context.close()
    # Streamlit looks for itself below the page's own address first.
    said = [text for text in complaints.take() if "404" not in text]
    assert said == []
    ours = (world.site.url, world.site.direct, "data:", "blob:")
    assert [url for url in visited if not url.startswith(ours)] == []
    assert visited


def sign_in(page: Page, url: str, password: str) -> None:
    page.goto(url)
    page.get_by_label("E-mail").fill(ADMIN)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_test_id("stChatInput").wait_for()


def ask(page: Page, question: str) -> None:
    field = page.get_by_test_id("stChatInput").locator("textarea")
    field.fill(question)
    field.press("Enter")


def test_a_reload_keeps_the_person_and_the_conversation_and_signing_out_ends_both(page: Page, world: World) -> None:
    sign_in(page, world.site.url, world.rag.admin_password)
    expect(page.get_by_text("1 document ready")).to_be_visible()
    ask(page, "What does the eastern tower of the castle hold?")
    expect(page.get_by_text("What would you like to know?")).to_have_count(0)
    source = page.get_by_test_id("stExpander").filter(has_text="keep.txt")
    expect(source).to_be_visible(timeout=60_000)
    expect(page).to_have_url(re.compile(r"\?conversation=[0-9a-f-]{36}$"))
    address = page.url
    page.reload()
    expect(source).to_be_visible()
    expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
    assert page.url == address
    source.locator("summary").click()
    expect(source.get_by_text("four towers")).to_be_visible()

    (cookie,) = [item for item in page.context.cookies() if item["name"] == "ragkeep_chat"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert "ragkeep_chat" not in page.evaluate("document.cookie")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").wait_for()
    assert [item for item in page.context.cookies() if item["name"] == "ragkeep_chat"] == []
    assert world.rag.client(cookie["value"]).get("/api/me").status_code == 401


def test_the_conversation_of_the_address_opens_after_signing_in(page: Page, world: World) -> None:
    identifier = _conversation(world, HOSTILE)
    sign_in(page, f"{world.site.url}/?conversation={identifier}", world.rag.admin_password)
    answer = page.get_by_test_id("stChatMessage").nth(1)
    expect(answer.get_by_text("evil.example").first).to_be_visible()
    # What a model writes stays text; the one image is our own mark before the message.
    assert answer.locator("a").count() == 0
    assert answer.get_by_test_id("stChatMessageContent").locator("img").count() == 0
    expect(answer.locator(".stMarkdownBadge", has_text="1").first).to_be_visible()
    row = page.locator(f".st-key-current-{identifier}")
    row.hover()
    row.get_by_role("button").last.click()
    page.get_by_role("button", name="Delete it").click()
    expect(row).to_have_count(0)
    expect(page.get_by_text("What would you like to know?")).to_be_visible()
    assert world.admin.get(f"/api/conversations/{identifier}").status_code == 404


def test_a_question_without_an_answer_offers_to_try_again_and_nothing_found_is_no_alarm(
    page: Page, world: World
) -> None:
    identifier = _conversation(world, None, question="zxqv frumious wobble")
    sign_in(page, f"{world.site.url}/?conversation={identifier}", world.rag.admin_password)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Try other words")).to_be_visible()
    expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
    expect(page.get_by_test_id("stExpander")).to_have_count(0)


def test_a_wrong_password_says_so_and_sets_no_cookie(page: Page, world: World) -> None:
    page.goto(world.site.url)
    page.get_by_label("E-mail").fill(ADMIN)
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("password is wrong")).to_be_visible()
    assert [item for item in page.context.cookies() if item["name"] == "ragkeep_chat"] == []


def test_without_nginx_the_form_works_for_as_long_as_the_page_lives(page: Page, world: World) -> None:
    sign_in(page, world.site.direct, world.rag.admin_password)
    assert [item for item in page.context.cookies() if item["name"] == "ragkeep_chat"] == []
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()


def test_documents_show_what_failed_and_why(page: Page, world: World) -> None:
    sign_in(page, world.site.url, world.rag.admin_password)
    page.get_by_role("link", name="Documents").click()
    expect(page.get_by_text("up to 195 KB each")).to_be_visible()
    files = [
        {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4 nothing"},
        {"name": "moat.txt", "mimeType": "text/plain", "buffer": b"The moat is deep."},
    ]
    page.set_input_files("[data-testid=stFileUploader] input", files)  # type: ignore[arg-type]
    expect(page.get_by_text("2 ready · 1 failed")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("broken.pdf is not a readable PDF")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("1 could not be read")).to_be_visible(timeout=30_000)
    page.get_by_placeholder("Filter by name").fill("no such name")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No document fits this filter.")).to_be_visible()


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}],
)
def test_forms_of_other_origins_are_refused(world: World, headers: dict[str, str]) -> None:
    for path in ("/api/sign-in", "/api/sign-out"):
        answer = httpx.post(f"{world.site.url}{path}", headers=headers, data={"email": ADMIN, "password": "x"})
        assert answer.status_code == 403, path
        assert "set-cookie" not in answer.headers


def test_the_api_never_takes_the_cookie_for_a_sign_in(world: World) -> None:
    form = {"email": ADMIN, "password": world.rag.admin_password, "page": "//evil.example"}
    answer = httpx.post(f"{world.site.url}/api/sign-in", data=form, headers={"Origin": world.site.url})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    token = answer.cookies["ragkeep_chat"]
    assert world.rag.client(token).get("/api/me").status_code == 200
    for path in ("/api/me", "/api/documents", "/api/conversations"):
        assert httpx.get(f"{world.site.url}{path}", headers={"Cookie": f"ragkeep_chat={token}"}).status_code == 401


def test_the_cookie_is_secure_behind_https(world: World) -> None:
    form = {"email": ADMIN, "password": world.rag.admin_password}
    for scheme, secure in (("https", True), ("http", False)):
        answer = httpx.post(f"{world.rag.api_url}/api/sign-in", data=form, headers={"X-Forwarded-Proto": scheme})
        assert ("secure" in answer.headers["set-cookie"].lower()) is secure


def _conversation(world: World, answer: str | None, question: str = "What does the eastern tower hold?") -> str:
    """A question that the service kept, with this answer or none."""
    insert = "INSERT INTO conversations (user_id, title) SELECT id, 'Towers' FROM users WHERE email = %s RETURNING id"
    identifier = str(world.rag.query(insert, ADMIN)[0]["id"])
    ask = "INSERT INTO messages (conversation_id, role, content) VALUES (%s, 'user', %s) RETURNING id"
    world.rag.query(ask, identifier, question)
    if answer is not None:
        source = {
            "n": 1, "document": "keep.txt", "document_id": identifier, "page": 2, "heading": "Towers", "passage": KEEP,
            "score": 0.5, "similarity": None, "chunk_id": identifier, "cited": True,
        }  # fmt: skip
        keep = (
            "INSERT INTO messages (conversation_id, role, content, found, sources, model)"
            " VALUES (%s, 'assistant', %s, true, %s::jsonb, 'm') RETURNING id"
        )
        world.rag.query(keep, identifier, answer, json.dumps([source]))
    return identifier
