"""Bad input to the whole product: a sentence and a remedy each, and nothing that was stored is lost by it."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.documents import encrypted_pdf
from tests.support.product import Product, settled, upload

pytestmark = pytest.mark.integration

LIMIT = 50 * 2**20


@dataclass(frozen=True, slots=True)
class Precious:
    """A document and a complete set from before anything went wrong."""

    document: str
    content: bytes
    set_id: str


@pytest.fixture(scope="module")
def precious(product: Product) -> Iterator[Precious]:
    content = b"The ferry to Langoog leaves at low water only on the day of Saint Florian."
    with product.api() as api:
        before = api.get("/api/documents", params={"limit": 1}).json()["counts"].get("ready", 0)
        (document,) = upload(api, {"ferry.txt": content}).values()
        settled(api, before + 1)
        kept = Precious(document, content, product.json("backup")["set_id"])
        yield kept
        demand_intact(product, kept)
        api.delete(f"/api/documents/{document}").raise_for_status()


def demand_intact(product: Product, precious: Precious) -> None:
    """Whatever a test did: the document is served and found, its set is listed, and all is healthy."""
    with product.api() as api:
        assert api.get(f"/api/documents/{precious.document}/content").content == precious.content
        hits = api.post("/api/search", json={"question": "When does the ferry to Langoog leave?"}).json()["hits"]
        assert hits[0]["document_id"] == precious.document
    sets = {item["set_id"]: item["state"] for item in product.json("sets")["sets"]}
    assert sets[precious.set_id] == "complete"
    assert product.json("status")["healthy"] is True


def refused(product: Product, *words: str, status: int = 1) -> dict[str, str]:
    """The error of a verb that must fail: one object on standard output, the same in words on standard error."""
    told = product.manage(*words, "--json", check=False)
    assert told.returncode == status, told
    error: dict[str, str] = json.loads(told.stdout)["error"]
    assert set(error) == {"code", "message", "remedy"}
    assert error["message"] in told.stderr
    assert error["remedy"], error
    assert f"what to do: {error['remedy']}" in told.stderr
    assert "Traceback" not in told.stdout + told.stderr
    return error


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    aside = path.with_name(f"{path.name}-aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


# --- documents


def bomb() -> bytes:
    """64 MiB of zeros as a DOCX of a few KiB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b"<a>" + b"0" * (64 * 2**20))
    return packed.getvalue()


def test_files_that_cannot_be_read_are_named_with_a_reason_each(
    product: Product, precious: Precious, tmp_path: Path
) -> None:
    wanted = {
        "broken.pdf": (b"%PDF-1.7\nnot really", "not a readable PDF"),
        "locked.pdf": (encrypted_pdf("secret"), "password"),
        "bomb.docx": (bomb(), "unpack"),
        "empty.txt": (b"", "empty"),
        "large.txt": (b"x" * (LIMIT + 1), "larger than"),
        "picture.txt": (b"\x89PNG\r\n\x1a\n" + bytes(200), "binary data"),
    }
    for name, (content, _) in wanted.items():
        (tmp_path / name).write_bytes(content)
    told = product.manage("ingest", str(tmp_path), "--json", check=False)
    found = json.loads(told.stdout)
    reasons = {Path(item["path"]).name: item["reason"] for item in found["failed"]}
    assert (told.returncode, found["ready"], set(reasons)) == (1, 0, set(wanted))
    assert {name: reasons[name] for name in wanted if wanted[name][1] not in reasons[name]} == {}
    with product.api() as api:
        for item in api.get("/api/documents", params={"state": "failed", "limit": 100}).json()["documents"]:
            api.delete(f"/api/documents/{item['id']}").raise_for_status()
    demand_intact(product, precious)


@pytest.mark.parametrize(
    ("name", "content", "status", "code"),
    [
        ("nothing.txt", b"", 400, "empty_file"),
        ("../../etc/passwd", b"x", 400, "bad_name"),
        ("large.txt", b"x" * (LIMIT + 1), 413, "too_large"),
    ],
)
def test_uploads_that_are_refused_say_so(product: Product, name: str, content: bytes, status: int, code: str) -> None:
    with product.api() as api:
        assert api.post("/api/documents", files={"file": (name, content)}).status_code == status
        # Past the entrance, whose own limit answers first for what is too large.
        answer = api.post(f"http://127.0.0.1:{product.port + 10}/api/documents", files={"file": (name, content)})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert re.search(r"[.;] \w", error["message"]), "what is wrong and what to do"
    assert not list(product.volumes.rglob("passwd"))


# --- passwords


def test_a_wrong_password_opens_neither_chat_nor_portal(product: Product) -> None:
    email = "admin@ragkeep.local"
    answer = httpx.post(f"{product.url}/api/session", json={"email": email, "password": "wrong"}, timeout=30)
    assert answer.status_code == 401
    assert "password is wrong" in answer.json()["error"]["message"]
    portal = f"http://127.0.0.1:{product.port + 1}"
    with httpx.Client(base_url=portal, timeout=30) as browser:
        page = sign_in(browser, email, "wrong")
        assert page.status_code == 200
        assert "do not belong together" in page.text
        assert browser.get("/sets/").status_code == 302
        assert sign_in(browser, email, product.secret("admin_password")).status_code == 302
        assert browser.get("/sets/").status_code == 200


def sign_in(browser: httpx.Client, email: str, password: str) -> httpx.Response:
    form = browser.get("/sign-in/").text
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
    assert token
    fields = {"csrfmiddlewaretoken": token[1], "username": email, "password": password}
    return browser.post("/sign-in/", data=fields, headers={"Referer": f"{browser.base_url}/sign-in/"})


def test_a_wrong_password_on_the_command_line_is_told(product: Product, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong\n")
    words = ["ask", "Who?", "--url", product.url, "--email", "admin@ragkeep.local"]
    told = product.manage(*words, "--password-file", str(tmp_path / "password"), "--json", check=False)
    error = json.loads(told.stdout)["error"]
    assert told.returncode == 1
    assert "password is wrong; check both" in error["message"]


# --- the repository and the disk


@contextmanager
def wrong_key(product: Product) -> Iterator[tuple[str, str]]:
    file = product.var / "control" / "secrets" / "repository_password"
    right = file.read_text()
    file.write_text("not the key\n")
    try:
        yield "repository_key_wrong", str(product.var / "repositories" / "default")
    finally:
        file.write_text(right)


@contextmanager
def repository_gone(product: Product) -> Iterator[tuple[str, str]]:
    folder = product.var / "repositories" / "default"
    with moved_away(folder):
        yield "repository_unreachable", str(folder)
        assert not folder.exists(), "nothing was made in the place of a repository that is gone"


@contextmanager
def disk_too_small(product: Product) -> Iterator[tuple[str, str]]:
    """The vector store seems to weigh more than the disk has: a file with a hole, which takes no space itself."""
    segment = product.volumes / "vectors" / "live" / "00000000-0000-4000-8000-000000000000"
    segment.mkdir()
    hole = segment / "data_level0.bin"
    try:
        with hole.open("wb") as file:
            file.truncate(4 * 2**40)
        yield "space_short", str(product.var / "operations")
    finally:
        hole.unlink()
        segment.rmdir()


@pytest.mark.parametrize("trouble", [wrong_key, repository_gone, disk_too_small])
def test_a_backup_that_cannot_be_made_says_what_where_and_what_to_do(
    product: Product,
    precious: Precious,
    trouble: Any,  # noqa: ANN401 - one of the context managers above
) -> None:
    before = product.json("sets")["sets"]
    with trouble(product) as (code, place):
        error = refused(product, "backup")
    assert error["code"] == code
    assert place in error["message"]
    assert product.json("sets")["sets"] == before
    demand_intact(product, precious)
    assert product.json("backup")["state"] == "complete"


def test_a_restore_from_a_repository_that_is_gone_stops_nothing(product: Product, precious: Precious) -> None:
    with repository_gone(product):
        error = refused(product, "restore", "--set", precious.set_id, "--yes", "--no-safety")
        assert error["code"] == "repository_unreachable"
    demand_intact(product, precious)


# --- commands


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["restore"], 1, "exactly one of"),
        (["restore", "--set", "20200101T000000Z-000000", "--yes"], 1, "no backup set"),
        (["restore", "--yes", "--nosuch"], 2, "No such option"),
        (["restore", "--undo", "--yes"], 1, "no restore can be undone"),
        (["drill", "--set", "nonsense"], 1, "no backup set 'nonsense'"),
        (["logs", "nosuchservice"], 1, "no service nosuchservice"),
        (["logs", "--lines", "some"], 2, "'some' is not a valid"),
        (["ask"], 2, "Missing argument"),
        (["ask", " "], 1, "the question is empty"),
        (["ask", "Who?", "--base", "nowhere"], 1, "no knowledge base nowhere"),
        (["ingest"], 2, "Missing argument"),
        (["ingest", "/nonexistent"], 2, "does not exist"),
        (["up", "--port", "80"], 1, "port 80"),
        (["up", "--port", "99999"], 1, "port 99999"),
        (["up", "--port", "some"], 2, "'some' is not a valid"),
        (["up", "--listen", "nonsense"], 1, "nothing can listen on 'nonsense'"),
        (["clean", "--yes"], 1, "still running"),
        (["status", "--nosuch"], 2, "No such option"),
        (["statsu"], 2, "no verb 'statsu'"),
    ],
)
def test_a_command_mistyped_is_answered_with_a_sentence_and_a_remedy(
    product: Product, words: list[str], status: int, told: str
) -> None:
    assert told in refused(product, *words, status=status)["message"]


def test_a_file_that_may_not_be_read_is_named(product: Product, tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "private.txt").write_text("x")
    (tmp_path / "private.txt").chmod(0)
    told = product.manage("ingest", str(tmp_path), "--json", check=False)
    (failed,) = json.loads(told.stdout)["failed"]
    assert told.returncode == 1
    assert failed["path"].endswith("private.txt")
    assert "Permission denied" in failed["reason"]
