"""An operator's day with the running product: something dies, a setting changes, a secret is rotated."""

from __future__ import annotations

import json
import os
import signal

import psycopg
import pytest

from tests.support.portal_client import PortalClient
from tests.support.product import Product, settled, upload
from tests.support.servers import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def portal(product: Product) -> PortalClient:
    return PortalClient(product)


def pid_of(product: Product, service: str) -> int:
    rows = product.json("status")["services"]["rag"]
    return int(next(row["pid"] for row in rows if row["service"] == service))


def healthy(product: Product) -> bool:
    return bool(json.loads(product.manage("status", "--json", check=False).stdout).get("healthy"))


def test_what_dies_is_seen_and_named_and_its_use_is_drawn(product: Product, portal: PortalClient) -> None:
    # Seen running first: what happened before nobody can tell from a start.
    wait_until(lambda: 'id="use-frontend"' in portal.text("/stack/use/"), what="the first look", seconds=60)
    before = pid_of(product, "frontend")
    os.kill(before, signal.SIGKILL)
    wait_until(
        lambda: "Ended by itself" in portal.text("/stack/events/?service=frontend"), what="the event", seconds=60
    )
    assert "terminated by SIGKILL" in portal.text("/stack/events/?service=frontend")
    wait_until(lambda: healthy(product), what="the service to be back", seconds=60)
    assert pid_of(product, "frontend") != before
    told = product.json("doctor")
    assert told["ok"]
    named = [finding["message"] for finding in told["findings"] if finding["name"] == "service"]
    assert any("rag/frontend ended by itself in the last day: terminated by SIGKILL" in message for message in named)
    assert "rag/frontend ended by itself" in portal.text("/doctor/")


def test_a_setting_waits_for_the_deploy_and_comes_into_service(product: Product, portal: PortalClient) -> None:
    portal.post("/stack/settings/", form="/stack/settings/", LOG_LEVEL="DEBUG")
    assert "1 change waits for the next deploy" in portal.text("/stack/settings/")
    before = pid_of(product, "api"), pid_of(product, "postgres")
    assert portal.operation("/stack/deploy/begin/", form="/stack/settings/") == "Succeeded"
    after = pid_of(product, "api"), pid_of(product, "postgres")
    assert before[0] != after[0]
    assert before[1] == after[1]
    text = portal.text("/stack/settings/")
    assert "1 change waits" not in text
    assert 'value="DEBUG"' in text
    portal.post("/stack/settings/", form="/stack/settings/", LOG_LEVEL="")
    assert portal.operation("/stack/deploy/begin/", form="/stack/settings/") == "Succeeded"


@pytest.mark.parametrize("name", ["postgres_password", "redis_password", "internal_token"])
def test_a_rotated_secret_is_the_only_one_that_counts(product: Product, portal: PortalClient, name: str) -> None:
    old = product.secret(name)
    ended = portal.operation("/stack/settings/rotate/", form="/stack/settings/", secret=name, name=name)
    assert ended == "Succeeded"
    assert product.secret(name) != old
    assert healthy(product)
    if name == "postgres_password":
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(host="127.0.0.1", port=product.port + 16, user="rag", dbname="rag", password=old)
        product.rag_database().close()
    with product.api() as api:
        upload(api, {f"{name}.md": f"# {name}\n\nThe lamp of {name} is green.\n".encode()})
        settled(api, 1)


def test_what_is_written_is_shown_without_secrets(product: Product, portal: PortalClient) -> None:
    text = portal.text("/stack/logs/?lines=2000")
    assert text.count('class="log__who"') > 20
    for secret in (product.stack / "secrets").iterdir():
        assert secret.read_text().strip() not in text
