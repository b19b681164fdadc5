"""What must happen when a restore meets a fault; the number in a test's name is that of the list of faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backups import process
from backups.job import RepositoryPlace
from backups.repository import Repository
from backups.restore import sets
from tests.support import servers
from tests.support.product import Product, settled, upload

pytestmark = pytest.mark.integration

Description = dict[str, Any]


@pytest.fixture(scope="module")
def taken(product: Product) -> Iterator[str]:
    """A set of its own with a document in it; both are removed afterwards."""
    with product.api() as api:
        added = upload(api, {"faults-restore.txt": b"A set that other programs wrote is looked at with care.\n" * 20})
        settled(api, len(added))
    set_id = str(product.json("backup")["set_id"])
    yield set_id
    product.manage("sets", "delete", set_id, "--yes")
    with product.api() as api:  # a restore ends every session
        for document in added.values():
            api.delete(f"/api/documents/{document}").raise_for_status()


def repository_of(product: Product) -> Repository:
    place = RepositoryPlace(
        "", str(product.var / "repositories" / "default"), product.var / "control" / "secrets" / "repository_password"
    )
    return Repository(place, servers.RESTIC, product.var / "test-cache")


def rewrite(product: Product, set_id: str, folder: Path, change: Callable[[Description], None]) -> None:
    """Let the repository hold the set with another set.json, as another program would have written it."""
    repository = repository_of(product)
    snapshot = next(found for found in sets.set_snapshots(repository) if found.set_id == set_id)
    described: Description = json.loads(repository.dump(snapshot.id, "/set/set.json"))
    change(described)
    (folder / "set").mkdir()
    (folder / "set" / "set.json").write_text(json.dumps(described))
    repository.backup(cwd=folder, paths=["set"], files=[], tags=snapshot.tags, host=snapshot.host)
    env = {
        **product.env,
        "RESTIC_REPOSITORY": repository.place.url,
        "RESTIC_PASSWORD_FILE": str(repository.place.password_file),
    }
    process.run([servers.RESTIC, "forget", snapshot.id], env=env)


def of_a_newer_format(described: Description) -> None:
    described["format"] = 99


def of_a_newer_postgres(described: Description) -> None:
    described["format"] = 1
    described["versions"]["postgres_major"] = 99


def too_large(described: Description) -> None:
    described["versions"]["postgres_major"] = 18
    entry = next(one for one in described["files"] if one["source"] == "documents")
    entry["bytes"] = 10**16


def processes(product: Product) -> dict[str, Any]:
    """Service -> the process it runs in."""
    return {one["service"]: one["pid"] for group in product.json("status")["services"].values() for one in group}


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        pytest.param(of_a_newer_format, "manifest_invalid", "newer Ragkeep", id="20-newer-format"),
        pytest.param(of_a_newer_postgres, "set_too_new", "Postgres 18", id="20-newer-postgres"),
        pytest.param(too_large, "space_short", "too small", id="21-target-too-small"),
    ],
)
def test_20_and_21_are_refused_before_anything_stops(
    product: Product, taken: str, tmp_path: Path, change: Callable[[Description], None], code: str, sentence: str
) -> None:
    rewrite(product, taken, tmp_path, change)
    before = processes(product)
    told = product.manage("restore", "--set", taken, "--yes", "--json", check=False)
    error = json.loads(told.stdout)["error"]
    assert (told.returncode, error["code"]) == (1, code)
    assert sentence in error["message"]
    assert processes(product) == before, "nothing was stopped"
    assert "safety" not in told.stderr.lower(), "nothing was even backed up"
    assert not list(product.volumes.glob("*/staging-*"))


def states(product: Product) -> dict[str, str]:
    """How every service is, by group and name."""
    told = json.loads(product.manage("status", "--json", check=False).stdout)["services"]
    return {f"{group}/{one['service']}": one["state"] for group, listed in told.items() for one in listed}


@contextmanager
def standing_still(product: Product, *services: str) -> Iterator[None]:
    """Some services of the stack are stopped by the portal, and started again at the end."""

    def bring_about(kind: str, state: str) -> None:
        for service in services:
            start = f"operation_start(kind={kind!r}, target='stack:rag', params={{'service': {service!r}}})"
            product.manage("shell", "-c", f"from portal.operations.services import operation_start; {start}")
            servers.wait_until(partial(found, service, state), what=f"{service} {state}")

    def found(service: str, state: str) -> bool:
        return states(product)[f"rag/{service}"] == state

    bring_about("stack.stop", "stopped")
    try:
        yield
    finally:
        bring_about("stack.start", "healthy")


def test_28_what_stood_still_before_a_backup_and_a_restore_does_so_afterwards(product: Product) -> None:
    before = states(product)
    assert set(before.values()) == {"healthy"}
    with standing_still(product, "frontend", "ingest"):
        still = {**before, "rag/frontend": "stopped", "rag/ingest": "stopped"}
        taken = str(product.json("backup")["set_id"])
        assert states(product) == still
        assert product.json("restore", "--set", taken, "--yes", "--no-safety")["state"] == "kept"
        assert states(product) == still
        assert product.json("restore", "--confirm", "--yes")["state"] == "confirmed"
    assert states(product) == before
