"""kill -9 of what works for a verb of an installation, and what must be so afterwards."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from backups.process import Running
from tests.support.product import Product
from tests.support.servers import REPO


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


def snapshots(product: Product, repository: str = "default") -> list[str]:
    """What a plain look into a repository calls a set, without the portal."""
    words = ["list", "--repository", str(product.var / "repositories" / repository), "--json"]
    secrets = product.var / "control" / "secrets"
    own = secrets / "repositories" / f"{repository}.password"
    secret = own if own.exists() else secrets / "repository_password"
    argv = [sys.executable, "-m", "backups", *words, "--password-file", str(secret)]
    env = {**product.env, "PATH": f"{product.var}/tools/bin:{product.env['PATH']}", "PYTHONPATH": str(REPO)}
    with Running(argv, env=env, cwd=REPO) as told:
        listed: dict[str, Any] = json.loads("\n".join(told.lines()))
    return [item["set"] for item in listed["sets"]]


def complete_sets(product: Product) -> set[str]:
    return {item["set_id"] for item in product.json("sets")["sets"] if item["state"] == "complete"}
