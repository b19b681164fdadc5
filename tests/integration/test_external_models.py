"""A stack whose models are kept by a server of its own: sets name them, restores leave them alone."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support import servers
from tests.support.sample_stack import Ended, SampleStack, run_agent, sample_stack

pytestmark = pytest.mark.integration

TAGS = {
    "models": [
        {"name": "smollm2:135m", "digest": "b" * 64, "size": 1},
        {"name": "all-minilm:latest", "digest": "a" * 64, "size": 1},
    ]
}
NAMED = [{"name": "all-minilm:latest", "digest": "a" * 64}, {"name": "smollm2:135m", "digest": "b" * 64}]


@contextmanager
def model_server(answer: bytes) -> Iterator[str]:
    """Somebody's Ollama, as far as a backup asks it: `answer` to /api/tags."""

    class Tags(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/tags" else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Tags) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[SampleStack]:
    """A stack that never had a model of its own."""
    with sample_stack(tmp_path_factory.mktemp("external"), postgres_server) as made:
        shutil.rmtree(made.models)
        yield made


def job(stack: SampleStack, kind: str = "backup", url: str = "", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    made = stack.job(kind, **changes)
    made["stack"].update(models="external", ollama_url=url)
    return made


def set_json(stack: SampleStack, ended: Ended) -> dict[str, Any]:
    """The set.json of the set that a backup made, as the preflight of a restore finds it."""
    from backups.job import RepositoryPlace
    from backups.repository import Repository

    place = RepositoryPlace("", str(stack.repository), stack.root / "secrets/repository")
    repository = Repository(place, servers.RESTIC, stack.root / "operations/cache")
    found: dict[str, Any] = json.loads(repository.dump(ended.last["snapshot_id"], "/set/set.json"))
    return found


def test_a_set_names_the_models_it_does_not_hold(stack: SampleStack) -> None:
    with model_server(json.dumps(TAGS).encode()) as url:
        ended = run_agent(job(stack, url=url))
    assert ended.last["state"] == "complete", ended
    made = set_json(stack, ended)
    assert (made["external_models"], made["models"]) == (NAMED, [])
    assert not [entry for entry in made["files"] if entry["source"] == "models"]


@pytest.mark.parametrize("answer", [b"no JSON", b"{}", None])
def test_a_server_that_is_silent_does_not_cost_the_documents_their_backup(
    stack: SampleStack, answer: bytes | None
) -> None:
    if answer is None:
        ended = run_agent(job(stack, url=f"http://127.0.0.1:{servers.free_port()}"))
    else:
        with model_server(answer) as url:
            ended = run_agent(job(stack, url=url))
    assert ended.last["state"] == "complete", ended
    assert set_json(stack, ended)["external_models"] == []
    assert any("does not name its models" in line.get("message", "") for line in ended.lines)


def test_a_stack_with_its_own_server_still_refuses_an_empty_store(stack: SampleStack) -> None:
    ended = run_agent(stack.job())
    assert (ended.status, ended.last["code"]) == (1, "source_missing")


def test_a_restore_leaves_the_models_alone(stack: SampleStack) -> None:
    with model_server(json.dumps(TAGS).encode()) as url:
        made = run_agent(job(stack, url=url)).last["set"]
    looked = run_agent(job(stack, "preflight", set=made))
    assert looked.last["state"] == "ok", looked
    assert looked.last["preview"]["models"] == {"gained": [], "lost": []}
    staging = job(stack, "stage", set=made)
    staged = run_agent(staging)
    assert staged.last["state"] == "ok", staged
    assert staged.last["restored"] == ["documents", "vectors"]
    models = stack.root / "volumes/models"
    assert not list(models.glob("staging-*"))
    assert run_agent({**staging, "kind": "discard"}).last["state"] == "ok"


def test_models_of_a_set_are_not_brought_to_a_stack_that_keeps_none(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres
) -> None:
    with sample_stack(tmp_path_factory.mktemp("own"), postgres_server) as own:
        made = run_agent(own.job()).last["set"]
        before = sorted(path.name for path in (own.models / "blobs").iterdir())
        staging = job(own, "stage", set=made)
        staged = run_agent(staging)
        assert staged.last["restored"] == ["documents", "vectors"], staged
        assert sorted(path.name for path in (own.models / "blobs").iterdir()) == before
        assert run_agent({**staging, "kind": "discard"}).last["state"] == "ok"
        assert run_agent(own.job("stage", set=made)).last["restored"] == ["documents", "vectors", "models"]
