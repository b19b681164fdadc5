"""The verbs `settings` and `tidy`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from config.cli import settings, tidy
from portal.stacks.pending import pending_get
from tests.support import portal_scene
from tests.support.portal_scene import Scene

pytestmark = [
    pytest.mark.integration,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("worker_thread"),
]

scene = portal_scene.scene


def call(module: object, *words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(module.command, list(words), input=typed)  # type: ignore[attr-defined]


def told(result: Result) -> dict[str, Any]:
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def waiting(result: Result) -> dict[str, str]:
    return {row["name"]: row["waits"] for row in told(result)["settings"] if row["waits"] is not None}


def test_a_setting_is_set_unset_and_forgotten(scene: Scene) -> None:
    done = call(settings, "set", "LOG_LEVEL=DEBUG", "CHAT_MODEL=llama3", "--json")
    assert waiting(done) == {"LOG_LEVEL": "DEBUG", "CHAT_MODEL": "llama3"}
    assert "api" in told(done)["replaced"]
    assert waiting(call(settings, "unset", "LOG_LEVEL", "--json")) == {"CHAT_MODEL": "llama3"}
    assert waiting(call(settings, "forget", "--json")) == {}
    assert waiting(call(settings, "--json")) == {}


def test_a_value_with_a_password_comes_from_a_file_and_is_not_shown(scene: Scene) -> None:
    lines = "# the other machine\nOLLAMA_URL=http://me:p$$w=x@gpu.local:11434\n"
    done = call(settings, "set", "--file", "-", typed=lines)
    assert done.exit_code == 0, done.output
    assert pending_get("rag") == {"OLLAMA_URL": "http://me:p$$w=x@gpu.local:11434"}
    assert "p$$w" not in done.output
    assert "manage.py deploy" in done.stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["set", "LOG_LEVEL=loud"], "setting"),
        (["set", "LOG_LEVEL"], "usage"),
        (["set", "NO_SUCH=1"], "no_setting"),
        (["unset", "NO_SUCH"], "no_setting"),
        (["rotate", "admin_password"], "refused"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(scene: Scene, words: list[str], code: str) -> None:
    done = call(settings, *words, "--json")
    assert done.exit_code == 1
    assert told(done)["error"]["code"] == code
    assert told(done)["error"]["remedy"]
    assert pending_get("rag") == {}


def test_a_secret_is_rotated(scene: Scene) -> None:
    file = scene.runtime.locate(scene.spec).secret("internal_token")
    file.write_text("old")
    done = call(settings, "rotate", "internal_token", "--json")
    assert told(done) == {"secret": "internal_token", "services": ["api", "ingest"]}
    assert file.read_text().strip() not in done.output
    assert file.read_text() != "old"


def test_tidy_shows_first_and_removes_when_told(scene: Scene, tmp_path: Path) -> None:
    assert "nothing to clean up" in call(tidy).stdout
    logs = tmp_path / "stacks" / "rag" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "api.log.1").write_text("x" * 1000)
    shown = told(call(tidy, "--json"))
    assert shown == {"pieces": [{"sort": "logs", "name": "stacks/rag/logs/api.log.1", "bytes": 1000}], "bytes": 1000}
    assert told(call(tidy, "--only", "work", "--yes", "--json"))["pieces"] == []
    assert (logs / "api.log.1").exists()
    assert told(call(tidy, "--yes", "--json")) == {"removed": 1, "freed_bytes": 1000, "left": 0}
    assert not (logs / "api.log.1").exists()
