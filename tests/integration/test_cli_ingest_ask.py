"""`ingest` and `ask` as typed, against the running service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from config.cli import ask, ingest
from rag_api.parsing import SUFFIXES
from tests.support.rag_stack import ADMIN, RagStack, rag_stack
from tests.support.servers import Postgres, Valkey, chroma, free_port

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres, valkey_server: Valkey, model_server_url: str
) -> Iterator[RagStack]:
    folder = tmp_path_factory.mktemp("cli")
    with (
        chroma(folder / "vectors") as vectors,
        rag_stack(folder, postgres_server, valkey_server, vectors.url, model_server_url) as started,
    ):
        started.start_ingest()
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("files")
    (place / "rocks").mkdir()
    (place / ".git").mkdir()
    (place / "rocks" / "granite.txt").write_text("Granite is a hard igneous rock that cooled slowly underground.")
    (place / "pump.md").write_text("# Pump\n\nGrease the coolant pump every 500 hours.")
    (place / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (place / ".git" / "hidden.txt").write_text("nobody reads this")
    return place


def run(stack: RagStack, verb: Any, *arguments: str) -> Result:  # noqa: ANN401 - a click command
    password = stack.root / "secrets" / "admin"
    access = ["--url", stack.api_url, "--email", ADMIN, "--password-file", str(password)]
    return CliRunner().invoke(verb.command, [*arguments, *access])


def test_a_folder_is_ingested_once_and_then_found_unchanged(stack: RagStack, folder: Path) -> None:
    first = run(stack, ingest, str(folder), "--json")
    assert first.exit_code == 0, first.output
    fields = json.loads(first.stdout)
    assert {name: fields[name] for name in ("files", "uploaded", "unchanged", "ready", "failed")} == {
        "files": 2, "uploaded": 2, "unchanged": 0, "ready": 2, "failed": []
    }  # fmt: skip
    (skipped,) = fields["skipped"]
    assert skipped["path"].endswith("picture.png")
    assert ".png are not supported" in skipped["reason"]
    assert fields["rate_per_second"] > 0
    with stack.admin() as client:
        paths = {item["path"] for item in client.get("/api/documents").json()["documents"]}
    assert paths == {"rocks/granite.txt", "pump.md"}

    again = json.loads(run(stack, ingest, str(folder), "--json").stdout)
    assert (again["uploaded"], again["unchanged"], again["ready"]) == (0, 2, 2)


def test_every_failure_is_named_and_nothing_else_is_lost(stack: RagStack, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 but no more")
    (tmp_path / "large.txt").write_text("x" * 300_000)
    (tmp_path / "good.txt").write_text("Limestone forms from shells.")
    result = run(stack, ingest, str(tmp_path), "--json")
    assert result.exit_code == 1
    fields = json.loads(result.stdout)
    reasons = {Path(item["path"]).name: item["reason"] for item in fields["failed"]}
    assert set(reasons) == {"empty.txt", "broken.pdf", "large.txt"}
    assert "empty" in reasons["empty.txt"]
    assert "not a readable PDF" in reasons["broken.pdf"]
    assert "larger than the allowed" in reasons["large.txt"]
    assert fields["ready"] == 1
    plain = run(stack, ingest, str(tmp_path / "broken.pdf"))
    assert plain.exit_code == 1
    assert f"failed {tmp_path / 'broken.pdf'}: broken.pdf is not a readable PDF" in plain.stdout


def test_ask_answers_with_sources_in_json_and_in_words(stack: RagStack, folder: Path) -> None:
    run(stack, ingest, str(folder))
    question = "How often must the coolant pump be greased?"
    result = run(stack, ask, question, "--json")
    assert result.exit_code == 0, result.output
    fields = json.loads(result.stdout)
    assert fields["question"] == question
    assert fields["found"] is True
    assert fields["answer"]
    assert fields["sources"][0]["document"] == "pump.md"
    assert fields["sources"][0]["passage"].endswith("500 hours.")
    assert {"page", "score"} <= set(fields["sources"][0])
    assert fields["seconds"] > 0
    words = run(stack, ask, question, "--base", "Personal")
    assert words.exit_code == 0
    assert "[1] pump.md: " in words.stdout


def test_ask_says_when_the_documents_do_not_say(stack: RagStack) -> None:
    fields = json.loads(run(stack, ask, "What is the recipe for tiramisu?", "--json").stdout)
    assert (fields["found"], fields["sources"]) == (False, [])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--base", "nowhere"], "there is no knowledge base nowhere"),
        (["--url", "http://127.0.0.1:{port}"], "does not answer"),
        (["--password-file", "{wrong}"], "password is wrong"),
        (["--key-file", "{wrong}"], "is not valid"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(
    stack: RagStack, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password\n")
    password = stack.root / "secrets" / "admin"
    access = ["--url", stack.api_url, "--email", ADMIN, "--password-file", str(password)]
    given = [word.format(port=free_port(), wrong=wrong) for word in arguments]
    result = CliRunner().invoke(ask.command, ["hello?", *access, *given, "--json"])
    assert result.exit_code == 1
    assert sentence in json.loads(result.stdout)["error"]["message"]
    assert "Traceback" not in result.output


def test_an_api_key_serves_instead_of_a_password(stack: RagStack, tmp_path: Path) -> None:
    with stack.admin() as client:
        key = tmp_path / "key"
        key.write_text(client.post("/api/keys", json={"name": "cli"}).json()["key"] + "\n")
    result = CliRunner().invoke(
        ask.command, ["what is xkcd blorp?", "--url", stack.api_url, "--key-file", str(key), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["found"] is False


def test_the_command_line_skips_what_the_service_cannot_read() -> None:
    assert set(SUFFIXES) == ingest.SUFFIXES
