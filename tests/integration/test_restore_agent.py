"""Restores through the agent process: its protocol, and kill -9 in the middle of a swap."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backups.journal import Context, Fence, Journal, agent_lock
from backups.manifest import Manifest
from backups.process import Running
from backups.restore.jobs import JOBS
from tests.support import servers
from tests.support.faultpoints import arm
from tests.support.restorable import SmallStack, alter_set, back_up
from tests.support.servers import REPO, wait_until

pytestmark = pytest.mark.integration

AGENT = (str(servers.BIN / "python"), "-m", "backups", "agent")


def start(stack: SmallStack, kind: str, *, attempt: int = 1, set_id: str | None = None) -> Running:
    stack.work.mkdir(parents=True, exist_ok=True)
    (stack.work / "fence").write_text(str(attempt))
    agent = Running(AGENT, env={**os.environ, "RAGKEEP_VAR": str(stack.root)}, cwd=REPO)
    agent.send(json.dumps(stack.job_fields(kind, set_id=set_id, attempt=attempt, options={})) + "\n")
    return agent


def finish(agent: Running) -> tuple[int, list[dict[str, Any]]]:
    with agent:
        lines = [json.loads(line) for line in agent.lines()]
        return agent.wait(60), lines


def complete(stack: SmallStack, kind: str, *, attempt: int = 1, set_id: str | None = None) -> dict[str, Any]:
    """Carry out a job in this process, which is much quicker than starting an agent."""
    job = stack.job(kind, set_id=set_id, attempt=attempt)
    job.work.mkdir(parents=True, exist_ok=True)
    (stack.work / "fence").write_text(str(attempt))
    with agent_lock(job.work):
        return JOBS[kind](job, Context(Journal(io.StringIO()), Fence(job.fence, job.attempt)))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[SmallStack]:
    """A filled stack with one set; every test restores it once more, as an operation of its own."""
    found = SmallStack(tmp_path_factory.mktemp("agent"), postgres_server, f"rag_{uuid4().hex[:6]}")
    found.create()
    found.fill(documents=4, chunks=2)
    back_up(found)
    yield found
    for name in found.server.oids():
        if name.startswith(found.database):
            found.server.drop(name)


@pytest.fixture
def restore(stack: SmallStack) -> Iterator[SmallStack]:
    """The stack with newer data than its set: a file in every volume and a row that the set does not have."""
    stack.operation = str(uuid4())
    for name in ("documents", "vectors", "models"):
        (stack.live(name) / "newer").write_text("newer")
    with stack.server.connect(stack.database) as connection:
        connection.execute("INSERT INTO users VALUES (3, 'newer@example.org') ON CONFLICT DO NOTHING")
    yield stack
    complete(stack, "unswap", attempt=9)
    complete(stack, "discard", attempt=9)


def is_new(stack: SmallStack) -> dict[str, bool]:
    """Per part of the stack whether the set's data is live."""
    with stack.server.connect(stack.database) as connection:
        users = connection.execute("SELECT count(*) FROM users").fetchone()
    parts = {name: not (stack.live(name) / "newer").exists() for name in ("documents", "vectors", "models")}
    return {**parts, "postgres": users == (2,)}


def kill_in_swap(stack: SmallStack) -> None:
    """Start a swap and kill the agent, with everything it started, between two volumes."""
    reached = arm(stack.root, "swap")
    with start(stack, "swap") as agent:
        wait_until(reached.exists, what="the swap's fault point")
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait(10)
    assert len(set(is_new(stack).values())) == 2, "the swap must have been killed half-way"


def test_the_agent_reports_steps_and_progress_and_a_result(restore: SmallStack) -> None:
    code, lines = finish(start(restore, "stage", set_id="latest"))
    assert code == 0, lines[-1]
    done = [line["name"] for line in lines if line["type"] == "step" and line["state"] == "done"]
    assert done == [
        "find_set", "check_target", "restore_documents", "restore_vectors", "restore_models",
        "check_documents", "check_vectors", "check_models", "verify_vectors", "restore_postgres", "check_postgres",
    ]  # fmt: skip
    assert {"restore_documents", "verify_documents"} <= {x["stage"] for x in lines if x["type"] == "progress"}
    assert lines[-1]["type"] == "result"
    assert lines[-1]["rows"] == {"users": 2, "documents": 4, "chunks": 8}


def test_a_swap_killed_half_way_is_finished_by_the_next_attempt(restore: SmallStack) -> None:
    complete(restore, "stage", set_id="latest")
    kill_in_swap(restore)
    complete(restore, "swap", attempt=2)
    assert all(is_new(restore).values())


def test_a_swap_killed_half_way_is_undone(restore: SmallStack) -> None:
    complete(restore, "stage", set_id="latest")
    kill_in_swap(restore)
    assert complete(restore, "unswap", attempt=2)["undone"]
    assert not any(is_new(restore).values())


def replay(stack: SmallStack, command: str) -> tuple[int, str]:
    argv = [
        *AGENT[:-1], command, "--operation", stack.operation, "--volumes", str(stack.root / "volumes"),
        "--password-file", str(stack.root / "secrets" / "postgres"), "--port", str(stack.postgres.port),
        "--database", stack.database,
    ]  # fmt: skip
    with Running(argv, cwd=REPO) as running:
        said = "\n".join(running.lines())
        return running.wait(60), said + running.stderr


def test_a_swap_killed_half_way_is_finished_and_undone_without_a_portal(restore: SmallStack) -> None:
    assert replay(restore, "finish")[0] == 1
    complete(restore, "stage", set_id="latest")
    kill_in_swap(restore)
    code, said = replay(restore, "finish")
    assert (code, all(is_new(restore).values())) == (0, True), said
    code, said = replay(restore, "undo")
    assert (code, any(is_new(restore).values())) == (0, False), said


def test_a_stage_killed_half_way_is_begun_again(restore: SmallStack) -> None:
    with start(restore, "stage", set_id="latest") as agent:
        for line in agent.lines():
            if '"restore_vectors"' in line:
                break
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait(10)
    code, lines = finish(start(restore, "swap"))
    assert (code, lines[-1]["code"]) == (1, "nothing_staged")
    complete(restore, "stage", set_id="latest", attempt=2)
    complete(restore, "swap", attempt=2)
    assert all(is_new(restore).values())


def rescue(stack: SmallStack, *words: str) -> tuple[int, str, str]:
    place = stack.repository.place
    argv = [*AGENT[:-1], *words, "--repository", place.url, "--password-file", str(place.password_file)]
    with Running(argv, cwd=REPO) as running:
        running.close_stdin()
        out = "\n".join(running.lines())
        return running.wait(60), out, running.stderr


def test_a_set_is_rescued_without_portal_or_stack(stack: SmallStack, tmp_path: Path) -> None:
    code, out, _ = rescue(stack, "list", "--json")
    (only,) = json.loads(out)["sets"]
    assert (code, only["state"], only["stack"]) == (0, "complete", "rag-test")
    target = tmp_path / "rescued"
    code, out, err = rescue(stack, "restore", "--set", only["set"], "--target", str(target))
    assert code == 0, err
    assert f"Set {only['set']}" in out
    assert (target / "documents-by-name" / "doc-02.txt").read_text() == "document 2\n" * 3
    assert (target / "models" / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest").is_file()
    assert (target / "config" / "config" / "stack.yaml").is_file()
    assert (target / "postgres" / "database.dump").is_file()
    code, _, err = rescue(stack, "restore", "--set", only["set"], "--target", str(target))
    assert (code, "not empty" in err) == (1, True)


def test_a_partial_set_is_rescued_with_a_status_of_its_own(stack: SmallStack) -> None:
    def one_other_sum(manifest: Manifest) -> Manifest:
        first, *others = manifest.files_of("documents")
        rest = [entry for entry in manifest.files if entry.source != "documents"]
        return replace(manifest, files=(replace(first, sha256="0" * 64), *others, *rest))

    partial = alter_set(stack, "latest", tags=("state:partial",), change=one_other_sum)
    code, out, err = rescue(stack, "verify", "--set", partial, "--json")
    assert code == 3, err
    found = json.loads(out)
    assert (found["state"], len(found["flaws"]), found["files"]["documents"]) == ("partial", 1, 4)


def test_rescue_says_what_is_wrong(stack: SmallStack, tmp_path: Path) -> None:
    code, out, err = rescue(stack, "verify", "--set", "20000101T000000Z-000000", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "set_unknown")
    assert "there is no set 20000101T000000Z-000000" in err
    wrong = tmp_path / "password"
    wrong.write_text("wrong\n")
    place = stack.repository.place
    with Running([*AGENT[:-1], "list", "--repository", place.url, "--password-file", str(wrong)], cwd=REPO) as running:
        assert running.wait(60) == 1
        assert "does not open the repository" in running.stderr
