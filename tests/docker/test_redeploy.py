"""Five redeploys of api and chat while people work: nobody notices.

How fast it all is, `manage.py bench redeploy` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import expect

from tests.support import deployed_stack
from tests.support.deployed_stack import DeployedStack, People
from tests.support.docker_engine import Engine
from tests.support.open_chat import OpenChat, open_chat
from tests.support.servers import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

REDEPLOYS = 5


@pytest.fixture(scope="module")
def product(images: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedStack]:
    with deployed_stack.deployed(images, tmp_path_factory.mktemp("product")) as found:
        with found.client() as client:
            deployed_stack.fact(client, lambda ready: wait_until(ready, what="the document", seconds=120))
        yield found


def test_nobody_notices_five_redeploys(product: DeployedStack) -> None:
    with open_chat(product) as chat:
        address, before = chat.page.url, product.runtime.status(product.spec)
        with deployed_stack.at_work(product) as people:
            for number in range(REDEPLOYS):
                people.begin_answer()
                wait_until(partial(_streams, people, number), what="the beginning of an answer", seconds=60)
                chat.meanwhile(partial(_redeploy, product, number))
                chat.settle()
        assert people.failed() == []
        assert people.count("search") > 300
        assert people.count("upload") > 15
        assert people.count("ask") == REDEPLOYS
        _assert_untouched(chat, address)
    after = {status.service: status.since for status in product.runtime.status(product.spec)}
    kept = {status.service: status.since for status in before if status.service not in ("api", "frontend")}
    assert {name: after[name] for name in kept} == kept, "nothing else was touched"


def _redeploy(product: DeployedStack, number: int) -> None:
    plan = product.runtime.apply(product.release(str(number)))
    assert [change.service for change in plan.changes if "configuration" in change.causes] == ["api", "frontend"]


def _streams(people: People, before: int) -> bool:
    return people.streaming > before


def _assert_untouched(chat: OpenChat, address: str) -> None:
    assert chat.sockets.is_connected
    assert len(chat.sockets.closed) >= REDEPLOYS
    assert chat.page.url == address
    expect(chat.page.get_by_test_id("stChatMessage")).to_have_count(2)
    assert chat.is_whole()


def test_an_answer_in_the_chat_is_finished_although_its_server_is_replaced(product: DeployedStack) -> None:
    with open_chat(product) as chat:
        page = chat.page
        field = page.get_by_test_id("stChatInput").locator("textarea")
        field.fill("And what does the book of the keeper say of Utsira?")
        field.press("Enter")
        expect(page.get_by_test_id("stChatMessage")).to_have_count(4, timeout=60_000)
        product.runtime.apply(product.release("answering"))
        expect(page.get_by_test_id("stChatMessage")).to_have_count(4, timeout=60_000)
        expect(page.get_by_text("This question was not answered.")).to_have_count(0)


def test_the_files_of_a_release_hold_no_secret(product: DeployedStack) -> None:
    release = product.runtime.rendered(product.spec)
    assert set(release.images) == set(release.contents)
    assert all(image.startswith("sha256:") or "@sha256:" in image for image in release.images.values())
    kept = release.text + str(release.images) + str(release.contents)
    assert [name for name in product.spec.secrets if product.secret(name) in kept] == []
