"""kill -9 of whoever works, agent or worker, at every step of the journals of backup, restore, prune, copy and deploy.

The steps are found by running each operation once and noting the points it passes. Each run of the suite kills at a few
of them, other ones every day; `--kills all` kills at every one.
"""

from __future__ import annotations

import datetime
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.documents import corpus
from tests.support.faultpoints import Recorded, arm, chosen, disarm
from tests.support.kills import Verb, complete_sets, gate_is_open, kill_agent, kill_worker, snapshots
from tests.support.product import Product, settled, upload
from tests.support.servers import wait_until

pytestmark = pytest.mark.integration

SECOND = "second"
BOTH = frozenset({"agent", "worker"})


class Scene(Protocol):
    """An operation that is killed over and over.

    Attributes:
        kinds: of the operation and of the agent's jobs for it; what else goes on meanwhile has points of its own.
        workers: who has steps of their own in it.
    """

    kinds: tuple[str, ...]
    workers: frozenset[str]

    def prepare(self) -> list[str]:
        """Make everything ready; returns the words of the verb."""

    def check(self, told: dict[str, Any], /) -> None:
        """Look whether all is as it must be after the verb has ended."""


class Backup:
    """One backup; afterwards exactly one more complete set is there."""

    kinds: tuple[str, ...] = ("backup",)
    workers = BOTH

    def __init__(self, product: Product) -> None:
        self.product = product
        self._before: set[str] = set()

    def prepare(self) -> list[str]:
        self._before = complete_sets(self.product)
        return ["backup"]

    def check(self, told: dict[str, Any]) -> None:
        assert told["state"] == "complete"
        assert complete_sets(self.product) == self._before | {told["set_id"]}
        assert set(snapshots(self.product)) >= complete_sets(self.product)


class Restore:
    """A restore after a loss; afterwards the documents of the set are back and nothing half-made is left."""

    kinds: tuple[str, ...] = ("restore", "preflight", "stage", "swap", "kept", "canary")
    workers = BOTH

    def __init__(self, product: Product) -> None:
        self.product = product
        self._ids: dict[str, str] = {}
        self._contents = {f"kills-{name}": content for name, content in corpus(2).items()}
        self._set = ""

    def prepare(self) -> list[str]:
        with self.product.api() as api:
            if not self._set:
                self._ids = upload(api, self._contents)
                settled(api, len(self._ids))
                self._set = self.product.json("backup")["set_id"]
            for document in self._ids.values():
                api.delete(f"/api/documents/{document}").raise_for_status()
        return ["restore", "--set", self._set, "--yes"]

    def check(self, told: dict[str, Any]) -> None:
        assert told["state"] == "kept"
        with self.product.api() as api:
            for name, document in self._ids.items():
                assert api.get(f"/api/documents/{document}/content").content == self._contents[name]
        assert self.product.json("restore", "--confirm", "--yes")["state"] == "confirmed"
        left = [path.name for path in self.product.volumes.glob("*/*") if path.name.startswith(("staging-", "kept-"))]
        assert left == []


class Prune:
    """A prune after a set was deleted; afterwards the repository is sound and holds every other set."""

    kinds: tuple[str, ...] = ("repository.prune", "prune")
    workers = BOTH

    def __init__(self, product: Product) -> None:
        self.product = product
        self._sets: set[str] = set()

    def prepare(self) -> list[str]:
        with self.product.api() as api:
            added = upload(api, {"kills-passing.txt": threading.current_thread().name.encode() * 5000})
            settled(api, len(added))
            gone = self.product.json("backup")["set_id"]
            for document in added.values():
                api.delete(f"/api/documents/{document}").raise_for_status()
        self.product.json("sets", "delete", gone, "--yes")
        self._sets = complete_sets(self.product)
        assert gone not in self._sets
        return ["repositories", "prune", "default"]

    def check(self, _told: dict[str, Any]) -> None:
        self.product.json("repositories", "check", "default")
        assert set(snapshots(self.product)) >= complete_sets(self.product) == self._sets


class Copy:
    """A copy of what the second repository lacks; afterwards every complete set is there once."""

    kinds: tuple[str, ...] = ("repository.copy", "copy")
    workers = BOTH

    def __init__(self, product: Product) -> None:
        self.product = product

    def prepare(self) -> list[str]:
        names = {found["name"] for found in self.product.json("repositories")["repositories"]}
        if SECOND not in names:
            self.product.json("repositories", "add", SECOND, str(second_folder(self.product)))
            self.product.json("repositories", "care", "default", "--copy-to", SECOND)
        self.product.json("backup")
        return ["repositories", "copy", "default"]

    def check(self, _told: dict[str, Any]) -> None:
        self.product.json("repositories", "check", SECOND)
        copied = snapshots(self.product, SECOND)
        assert complete_sets(self.product) <= set(copied)
        assert len(copied) == len(set(copied)), "a set was copied twice"


class Deploy:
    """A deploy of a setting; afterwards the services run with it, and that is the one release that serves."""

    kinds: tuple[str, ...] = ("stack.deploy",)
    workers = frozenset({"worker"})

    def __init__(self, product: Product) -> None:
        self.product = product
        self._level = "INFO"

    def prepare(self) -> list[str]:
        self._level = "DEBUG" if self._level == "INFO" else "INFO"
        self.product.set_pending(LOG_LEVEL=self._level)
        return ["deploy", "--yes"]

    def check(self, told: dict[str, Any]) -> None:
        listed = self.product.json("releases")["releases"]
        assert [one["release"] for one in listed if one["state"] == "current"] == [told["release"]]
        assert not [one for one in listed if one["state"] == "candidate"]
        for service in ("api", "ingest"):
            assert self.product.variables(service)["LOG_LEVEL"] == self._level
        assert self.product.json("plan")["nothing"] is True


SCENES: dict[str, Callable[[Product], Scene]] = {
    "backup": Backup,
    "restore": Restore,
    "prune": Prune,
    "copy": Copy,
    "deploy": Deploy,
}


def second_folder(product: Product) -> Path:
    return product.var / "repositories" / SECOND


@pytest.fixture(autouse=True)
def nothing_stays(product: Product) -> Iterator[None]:
    yield
    disarm(product.var)
    shutil.rmtree(product.var / "faults", ignore_errors=True)


def kill_at(product: Product, point: str, words: list[str]) -> dict[str, Any]:
    """Start the verb, kill who comes to the point, and wait until the verb has ended well without any help."""
    reached = arm(product.var, point)
    verb = Verb(product, *words)
    wait_until(reached.exists, what=point, seconds=120)
    (kill_agent if point.startswith("agent.") else kill_worker)(product)
    wait_until(lambda: gate_is_open(product), what="the open gate", seconds=10)
    return verb.answer()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SCENES)
def test_a_kill_at_any_step_needs_nobody(
    product: Product, name: str, pytestconfig: pytest.Config, subtests: pytest.Subtests
) -> None:
    scene = SCENES[name](product)
    words = scene.prepare()
    with Recorded(product.var) as recorded:
        told = Verb(product, *words).answer()
    scene.check(told)
    own = tuple(f"{who}.{kind}." for who in ("agent", "worker") for kind in scene.kinds)
    points = [point for point in recorded.points if point.startswith(own)]
    assert {point.partition(".")[0] for point in points} == scene.workers
    for point in chosen(points, str(pytestconfig.getoption("--kills")), datetime.date.today().toordinal()):
        with subtests.test(point):
            scene.check(kill_at(product, point, scene.prepare()))
            assert product.json("status")["healthy"] is True
