"""First use, second use, and what goes wrong before anything is started."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from typing import Any

import psycopg
import pytest

from tests.support.documents import corpus
from tests.support.product import Product, installation, settled, upload

pytestmark = pytest.mark.integration

FIELDS = {"portal_url", "chat_url", "api_url", "admin", "healthy", "set_id", "drill", "seconds"}


def pids(product: Product) -> dict[str, int]:
    """The process of every service."""
    groups = product.json("status")["services"]
    return {f"{name}/{item['service']}": item["pid"] for name, group in groups.items() for item in group}


def test_the_first_up_ends_with_a_proven_backup(product: Product) -> None:
    first = product.first
    assert set(first) >= FIELDS
    assert first["healthy"] is True
    assert first["drill"] == "passed"
    sets = product.json("sets")["sets"]
    assert first["set_id"] in [item["set_id"] for item in sets if item["state"] == "complete"]


def test_a_second_up_creates_nothing_again_and_keeps_the_password_to_itself(product: Product) -> None:
    password = (product.var / "control" / "secrets" / "admin_password").read_text().strip()
    assert password in json.dumps(product.first)
    before, sets = pids(product), len(product.json("sets")["sets"])
    told = product.manage("up", "--json")
    assert json.loads(told.stdout)["healthy"] is True
    assert password not in told.stdout + told.stderr
    assert pids(product) == before
    assert len(product.json("sets")["sets"]) == sets


def test_a_first_up_that_failed_leaves_the_password_to_the_next(product: Product) -> None:
    secrets = product.var / "control" / "secrets"
    password = (secrets / "admin_password").read_text().strip()
    # As if no run had ended well yet.
    (secrets / "admin_password.shown").unlink()
    broken = {**product.env, "CHAT_MODEL": "no-such-model"}
    failed = Product(product.var, product.port, broken).manage("up", "--json", check=False)
    assert failed.returncode == 1
    assert "no-such-model" in json.loads(failed.stdout)["error"]["message"]
    assert password not in failed.stdout + failed.stderr
    mended = Product(product.var, product.port, {**product.env, "CHAT_MODEL": "smollm2:135m"})
    assert mended.json("up")["admin"]["password"] == password
    told = mended.manage("up")
    assert password not in told.stdout + told.stderr
    assert str(product.var) in told.stdout
    assert "manage.py ingest" in told.stdout


def test_up_remembers_that_the_stack_is_meant_to_run(product: Product) -> None:
    with portal_database(product) as portal:
        portal.execute("UPDATE stacks_stack SET state = 'stopped'")
        product.json("up")
        assert portal.execute("SELECT state FROM stacks_stack").fetchall() == [("running",)]


def portal_database(product: Product) -> psycopg.Connection[tuple[Any, ...]]:
    password = (product.var / "control" / "secrets" / "postgres_password").read_text().strip()
    return psycopg.connect(
        host="127.0.0.1", port=product.port + 20, user="portal", dbname="portal", password=password, autocommit=True
    )


def test_up_while_another_up_runs_names_it(product: Product) -> None:
    with (product.var / "run" / "up.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        told = product.manage("up", "--json", check=False)
    assert told.returncode == 1
    assert str(os.getpid()) in json.loads(told.stdout)["error"]["message"]


def test_a_taken_port_is_named_with_its_holder_before_anything_starts() -> None:
    with installation() as product, socket.socket() as holder:
        holder.bind(("127.0.0.1", product.port + 13))
        holder.listen()
        told = product.manage("up", "--port", str(product.port), "--json", check=False)
        assert told.returncode == 1
        error = json.loads(told.stdout)["error"]
        assert str(product.port + 13) in error["message"]
        assert str(os.getpid()) in error["message"]
        assert "--port" in error["remedy"]
        assert not (product.var / "run" / "supervisord.pid").exists()


def test_everything_is_there_after_down_and_up(product: Product) -> None:
    with product.api() as api:
        files = {f"kept-{name}": content for name, content in corpus(3).items()}
        ids = upload(api, files)
        settled(api, len(ids))
    product.manage("down", "--json")
    assert product.json("up")["healthy"] is True
    with product.api() as api:
        for name, document in ids.items():
            assert api.get(f"/api/documents/{document}/content").content == files[name]
        found = api.post("/api/search", json={"question": "Who founded the bakery in Market Lane?"}).json()
        assert found["hits"][0]["document"] == "kept-bakery.docx"
        for document in ids.values():
            assert api.delete(f"/api/documents/{document}").status_code == 202
