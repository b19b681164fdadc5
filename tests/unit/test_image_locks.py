"""The locks of the images: a part of the product's own lock each, so that a container runs what the tests ran."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.servers import REPO

LOCKS = REPO / "requirements"
IMAGES = sorted((LOCKS / "images").glob("*.txt"))
PIN = re.compile(r"(?m)^(?P<name>[a-z0-9][\w.-]*)==(?P<version>[^\s;]+)[^\n]*\\\n(?P<hashes>(?:    --hash=[^\n]+\n?)+)")


def pins(text: str) -> dict[tuple[str, str], set[str]]:
    """(name, version) -> hashes."""
    return {
        (found["name"], found["version"]): set(re.findall(r"--hash=(sha256:[0-9a-f]{64})", found["hashes"]))
        for found in PIN.finditer(text)
    }


@pytest.mark.parametrize("lock", IMAGES, ids=lambda path: path.stem)
def test_a_lock_is_a_part_of_the_products_own(lock: Path) -> None:
    text = lock.read_text()
    found, whole = pins(text), pins((LOCKS / "runtime.txt").read_text())
    assert len(found) == len(re.findall(r"(?m)^[a-z0-9]", text)), "a line that is no pin with hashes"
    assert {pin: hashes for pin, hashes in found.items() if whole.get(pin) != hashes} == {}


@pytest.mark.parametrize("lock", IMAGES, ids=lambda path: path.stem)
def test_a_lock_has_what_its_image_asks_for(lock: Path) -> None:
    wanted = lock.with_suffix(".in").read_text()
    names = {re.split(r"[\[<>=]", line)[0] for line in wanted.splitlines() if line and not line.startswith("#")}
    assert names
    assert names <= {name for name, _ in pins(lock.read_text())}


def test_the_service_does_without_the_package_of_its_vector_database() -> None:
    assert len(IMAGES) == 6
    assert not {"chromadb", "kubernetes"} & {name for name, _ in pins((LOCKS / "images" / "rag-api.txt").read_text())}
