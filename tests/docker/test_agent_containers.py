"""Agents as containers: one writer at a time, whoever dies, and nothing of them stays."""

from __future__ import annotations

import os
import signal
import time

import pytest

from backups.process import Running
from tests.support.docker_product import DockerProduct
from tests.support.servers import REPO, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


def agents(product: DockerProduct) -> list[str]:
    """Ids of the containers of agents, running or not."""
    return product.docker("ps", "--all", "--quiet", "--filter", f"label=ragkeep.agent={product.portal}").split()


def worker_pid(product: DockerProduct) -> int:
    return int(product.containers(product.portal)["worker"]["State"]["Pid"])


def test_a_killed_worker_takes_its_agent_with_it_and_the_next_one_finishes(product: DockerProduct) -> None:
    before = {one["set_id"] for one in product.json("sets")["sets"]}
    first = worker_pid(product)
    words = ["python3", str(REPO / "manage.py"), "backup"]
    with Running(words, env=product.env) as waiting:
        wait_until(lambda: bool(agents(product)), what="the agent", seconds=60)
        (agent,) = agents(product)
        os.kill(first, signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: agent not in "".join(agents(product)), what="the end of the agent", seconds=30)
        assert time.monotonic() - killed < 30
        # The verb was in the worker's container, and ended with it.
        waiting.wait(timeout=60)

    def new() -> set[str]:
        told = product.manage("sets", "--json", check=False)
        known = product.json("sets")["sets"] if told.returncode == 0 else []
        return {one["set_id"] for one in known if one["state"] == "complete"} - before

    wait_until(lambda: bool(new()), what="the set that the next worker took", seconds=180)
    assert len(new()) == 1
    assert worker_pid(product) != first
    wait_until(lambda: agents(product) == [], what="no agent", seconds=30)
    assert product.json("status")["healthy"] is True


def test_an_operation_is_cancelled_with_its_agent(product: DockerProduct) -> None:
    words = ["python3", str(REPO / "manage.py"), "backup"]
    with Running(words, env=product.env) as waiting:
        wait_until(lambda: bool(agents(product)), what="the agent", seconds=60)
        cancel = (
            "import django; django.setup()\n"
            "from portal.operations.models import Operation\n"
            "from portal.operations.services import operation_cancel\n"
            "operation_cancel(operation=Operation.objects.filter(kind='backup').latest('created_at'))"
        )
        product.execute(product.portal, "worker", "python", "-c", cancel)
        waiting.wait(timeout=60)
    wait_until(lambda: agents(product) == [], what="no agent", seconds=30)
    assert product.json("backup")["state"] == "complete", "nothing of it is in the way"
