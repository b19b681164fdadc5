"""kill -9 of the agent and of the worker in the middle of a freeze and of a swap: nobody needs to help."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backups.process import Running
from tests.support.documents import corpus
from tests.support.product import Product, settled, upload
from tests.support.servers import REPO, wait_until

pytestmark = pytest.mark.integration


def agents(product: Product) -> list[int]:
    """The pids of this installation's backup agents."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            mine = f"RAGKEEP_VAR={product.var}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if mine and words[1:4] == [b"-m", b"backups", b"agent"]:
            found.append(int(entry.name))
    return found


def worker(product: Product) -> int:
    status: dict[str, Any] = json.loads(product.manage("status", "--json", check=False).stdout)
    return next(int(item["pid"]) for item in status["services"]["control"] if item["service"] == "worker")


def kill_agent(product: Product) -> None:
    for pid in agents(product):
        os.kill(pid, signal.SIGKILL)


def kill_worker(product: Product) -> None:
    os.kill(worker(product), signal.SIGKILL)


class Verb:
    """A verb of manage.py that goes on while the test kills what works for it."""

    def __init__(self, product: Product, *words: str) -> None:
        argv = [sys.executable, str(REPO / "manage.py"), *words, "--json"]
        self._running = Running(argv, env=product.env)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(self._running.lines()))
        self._reader.start()

    def answer(self) -> dict[str, Any]:
        """Wait for its end; a failure of the verb fails the test."""
        code = self._running.wait(timeout=400)
        self._reader.join(timeout=10)
        assert code == 0, (self._lines, self._running.stderr)
        found: dict[str, Any] = json.loads("\n".join(self._lines))
        return found


def gate_is_open(product: Product) -> bool:
    with product.rag_database() as connection:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND objid = 1"
        row = connection.execute(query).fetchone()
        return row is not None and row[0] == 0


def snapshots(product: Product) -> set[str]:
    """What a plain look into the repository calls a set, without the portal."""
    words = ["list", "--repository", str(product.var / "repositories" / "default"), "--json"]
    secret = product.var / "control" / "secrets" / "repository_password"
    argv = [sys.executable, "-m", "backups", *words, "--password-file", str(secret)]
    env = {**product.env, "PATH": f"{product.var}/tools/bin:{product.env['PATH']}", "PYTHONPATH": str(REPO)}
    with Running(argv, env=env, cwd=REPO) as told:
        listed: dict[str, Any] = json.loads("\n".join(told.lines()))
    return {item["set"] for item in listed["sets"]}


def complete_sets(product: Product) -> set[str]:
    return {item["set_id"] for item in product.json("sets")["sets"] if item["state"] == "complete"}


@pytest.mark.parametrize("kill", [kill_agent, kill_worker])
def test_a_backup_killed_in_its_freeze_opens_the_gate_and_is_taken_up_again(
    product: Product, kill: Callable[[Product], None]
) -> None:
    before = complete_sets(product)
    reached = product.arm("freeze")
    verb = Verb(product, "backup")
    wait_until(reached.exists, what="the freeze", seconds=60)
    assert not gate_is_open(product)
    kill(product)
    wait_until(lambda: gate_is_open(product), what="the open gate", seconds=10)
    reached.unlink()
    taken = verb.answer()
    assert taken["state"] == "complete"
    assert complete_sets(product) == before | {taken["set_id"]}
    assert snapshots(product) >= complete_sets(product)
    assert product.json("status")["healthy"] is True


@pytest.mark.parametrize("kill", [kill_agent, kill_worker])
def test_a_restore_killed_in_its_swap_ends_with_one_whole_state(
    product: Product, kill: Callable[[Product], None]
) -> None:
    with product.api() as api:
        names = {f"swap-{kill.__name__}-{name}": content for name, content in corpus(2).items()}
        ids = upload(api, names)
        settled(api, len(ids))
        taken = product.json("backup")
        for document in ids.values():
            api.delete(f"/api/documents/{document}").raise_for_status()
    reached = product.arm("swap")
    verb = Verb(product, "restore", "--set", taken["set_id"], "--yes", "--no-safety")
    wait_until(reached.exists, what="the swap", seconds=120)
    kill(product)
    reached.unlink()
    assert verb.answer()["state"] == "kept"
    assert product.json("status")["healthy"] is True
    with product.api() as api:
        for name, document in ids.items():
            assert api.get(f"/api/documents/{document}/content").content == names[name]
            api.delete(f"/api/documents/{document}").raise_for_status()
    assert product.json("restore", "--confirm", "--yes")["state"] == "confirmed"
    leftovers = [path.name for path in product.volumes.glob("*/*") if path.name.startswith(("staging-", "kept-"))]
    assert leftovers == []
