"""A blank machine: from nothing but a repository and what opens it to answered questions, in one command.

The repository lies on an SFTP server where the machine has one, so that key and host key have to come along.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from backups import process
from tests.support import sshd
from tests.support.documents import corpus
from tests.support.product import Product, free_base, installation, settled, upload
from tests.support.servers import REPO, wait_until

# Three starts of the whole product; more patience than most, for a machine that does other things meanwhile.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

# Made once: a PDF says when.
FILES = corpus(3)

PASSWORD = "a password that somebody chose"
# Django's own hasher, so that the row is what the portal's page would have written.
HASH = """
import django; django.setup()
from django.contrib.auth.hashers import make_password
import sys; print(make_password(sys.argv[1]))
"""


@contextmanager
def lost(product: Product) -> Iterator[None]:
    """The machine is gone: nothing of it runs, and its files are nowhere that anybody knows of."""
    away = product.var.with_name(f"{product.var.name}-gone")
    product.manage("down", "--json")
    product.var.rename(away)
    try:
        yield
    finally:
        away.rename(product.var)
        product.json("up")


def portal_database(product: Product) -> psycopg.Connection[tuple[Any, ...]]:
    password = (product.var / "control" / "secrets" / "postgres_password").read_text().strip()
    return psycopg.connect(
        host="127.0.0.1", port=product.port + 20, user="portal", dbname="portal", password=password, autocommit=True
    )


@pytest.fixture
def reached(tmp_path: Path) -> Iterator[list[str]]:
    """The words of the command that name the repository in `tmp_path` and what reaches it."""
    folder, key = str(tmp_path / "repository"), ["--password-file", str(tmp_path / "key")]
    if sshd.program() is None:
        yield ["--repository", folder, *key]
        return
    with sshd.sshd(tmp_path / "ssh") as server:
        url = f"sftp://{server.user}@127.0.0.1:{server.port}/{folder}"
        yield ["--repository", url, *key, "--key-file", str(server.user_key), "--host-key", server.fingerprint]


@pytest.fixture
def kept(product: Product, reached: list[str], tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What survives: a copy of the repository and its key elsewhere; and what must come back."""
    with product.api() as api:
        documents = upload(api, {f"recovered-{name}": content for name, content in FILES.items()})
        settled(api, len(documents))
    hashed = process.run(
        [os.fspath(REPO / ".venv/bin/python"), "-c", HASH, PASSWORD],
        env={**product.env, "DJANGO_SETTINGS_MODULE": "config.settings.run", "PYTHONPATH": str(REPO)},
        cwd=REPO,
    ).stdout.strip()
    with portal_database(product) as portal:
        portal.execute(
            "INSERT INTO auth_user (username, email, password, first_name, last_name, is_staff, is_superuser,"
            " is_active, date_joined) VALUES ('ada@example.org', 'ada@example.org', %s, '', '', true, false,"
            " true, now())",
            (hashed,),
        )
        portal.execute("UPDATE vaults_plan SET cron = '17 4 * * 0'")
        history = portal.execute("SELECT count(*) FROM operations_operation").fetchone()
    taken = product.json("backup")
    shutil.copytree(product.var / "repositories" / "default", tmp_path / "repository")
    shutil.copy(product.var / "control" / "secrets" / "repository_password", tmp_path / "key")
    yield {"documents": documents, "set": taken, "history": history, "reached": reached}
    with portal_database(product) as portal:
        portal.execute("DELETE FROM auth_user WHERE username = 'ada@example.org'")
        portal.execute("UPDATE vaults_plan SET cron = '30 2 * * *'")
    with product.api() as api:
        for document in documents.values():
            api.delete(f"/api/documents/{document}").raise_for_status()


def test_a_blank_machine_answers_again(product: Product, kept: dict[str, Any], record_property: Any) -> None:  # noqa: ANN401 - pytest's own
    with lost(product), installation() as blank:
        blank.port = free_base()
        asked = ["recover", *kept["reached"], "--port", str(blank.port), "--json"]
        interrupt(blank, asked)
        refused = blank.manage("up", "--json", check=False)
        assert json.loads(refused.stdout)["error"]["code"] == "recovery_unfinished"
        told = json.loads(blank.manage(*asked).stdout)
        record_property("recovery_seconds", told["seconds"])
        sys.stdout.write(f"time to answered questions: {told['seconds']} s, of which {told['steps']}\n")
        assert (told["set_id"], told["portal_recovered"]) == (kept["set"]["set_id"], True)
        assert told["canary"]["passed"] is True
        assert told["plans_held"] == 1
        stack_is_back(blank, kept)
        portal_is_back(blank, kept)
        again = blank.manage(*asked, check=False)
        assert json.loads(again.stdout)["error"]["code"] == "not_blank"


def interrupt(blank: Product, asked: list[str]) -> None:
    """Kill the first attempt as soon as it has noted where it is."""
    argv = [os.fspath(REPO / ".venv/bin/python"), os.fspath(REPO / "manage.py"), *asked]
    with process.Running(argv, env=blank.env, bound_to_parent=False) as first:
        first.discard_output()
        wait_until(lambda: (blank.var / "control" / "state.json").exists(), what="the portal's database", seconds=180)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert (blank.var / "recovery" / "notes.json").exists()


def stack_is_back(blank: Product, kept: dict[str, Any]) -> None:
    with blank.api() as api:
        for name, content in FILES.items():
            found = kept["documents"][f"recovered-{name}"]
            assert api.get(f"/api/documents/{found}/content").content == content
    answer = blank.json("ask", "Who founded the bakery in Market Lane?")
    assert answer["found"] is True
    assert "bakery.docx" in answer["sources"][0]["document"]


def portal_is_back(blank: Product, kept: dict[str, Any]) -> None:
    with portal_database(blank) as portal:
        assert portal.execute("SELECT cron, paused_until > now() FROM vaults_plan").fetchall() == [("17 4 * * 0", True)]
        (history,) = portal.execute(
            "SELECT count(*) FROM operations_operation WHERE kind <> 'repository.adopt'"
        ).fetchone() or (0,)
        assert history >= kept["history"][0]
        active = (
            "SELECT kind FROM operations_operation WHERE state IN ('queued', 'running') AND kind <> 'repository.adopt'"
        )
        assert portal.execute(active.encode()).fetchall() == []
        assert portal.execute("SELECT count(*) FROM django_session").fetchone() == (0,)
        found = portal.execute("SELECT url, password_file, options FROM vaults_repository").fetchone()
        assert found is not None
        files_are_kept(blank, kept["reached"], *found)
        hashed = portal.execute("SELECT password FROM auth_user WHERE username = 'ada@example.org'").fetchone()
        assert hashed is not None
        assert hashed[0].startswith("argon2")
    signed_in(blank)
    sets = {one["set_id"]: one for one in blank.json("sets")["sets"]}
    assert sets[kept["set"]["set_id"]]["proven_at"]
    card_and_key(blank, kept["reached"])
    assert blank.json("recover", "--take-over") == {"plans": ["default"]}
    assert blank.json("backup")["state"] == "complete"


def files_are_kept(blank: Product, reached: list[str], url: str, password: str, options: dict[str, str]) -> None:
    """The portal reaches the repository by files of its own, whatever becomes of those that were given."""
    given = dict(zip(reached[::2], reached[1::2], strict=True))
    assert url == given["--repository"]
    ours = {"--password-file": password, **({"--key-file": options["key_file"]} if "--key-file" in given else {})}
    for option, path in ours.items():
        assert Path(path).is_relative_to(blank.var / "control" / "secrets")
        assert Path(path).read_text() == Path(given[option]).read_text()
    assert set(options) == ({"key_file", "known_hosts_file"} if "--key-file" in given else set())


def card_and_key(blank: Product, reached: list[str]) -> None:
    card, given = blank.json("recovery-card"), dict(zip(reached[::2], reached[1::2], strict=True))
    assert (card["url"], len(card["key_id"])) == (given["--repository"], 64)
    words = card["command"].split()[3:]
    assert {*words[::2]} == {*given}
    assert {given["--repository"], given.get("--host-key", given["--repository"])} <= {*words[1::2]}
    argv = [os.fspath(REPO / ".venv/bin/python"), os.fspath(REPO / "manage.py"), "prove-key", "default", "--json"]
    wrong = process.run(argv, env=blank.env, stdin="not the key\n", check=False)
    assert (wrong.returncode, json.loads(wrong.stdout)["error"]["code"]) == (1, "repository_key_wrong")
    right = process.run(argv, env=blank.env, stdin=Path(given["--password-file"]).read_text())
    assert json.loads(right.stdout)["passed"] is True


def signed_in(blank: Product) -> None:
    """The account that came with the set signs in with the password it had."""
    with httpx.Client(base_url=f"http://127.0.0.1:{blank.port + 1}", follow_redirects=False) as browser:
        page = browser.get("/sign-in/")
        token = page.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        form = {"csrfmiddlewaretoken": token, "username": "ada@example.org", "password": PASSWORD}
        answer = browser.post("/sign-in/", data=form, headers={"Referer": str(page.url)})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/")
