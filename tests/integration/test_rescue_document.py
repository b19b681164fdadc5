"""docs/how-to/rescue.md is followed word for word, with plain restic and Postgres' own programs, on a ruined stack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx
import pytest

from backups import process
from tests.support import document, servers
from tests.support.documents import corpus
from tests.support.product import Product, settled, upload

pytestmark = pytest.mark.integration

# Made once: a PDF says when.
FILES = corpus(3)

PAGE = servers.REPO / "docs" / "how-to" / "rescue.md"
QUESTION = "Who founded the bakery in Market Lane?"


def test_a_ruined_stack_comes_back_by_following_the_document(product: Product, tmp_path: Path) -> None:
    before = filled(product)
    key = product.var / "control" / "secrets" / "repository_password"
    taken = product.json("backup")
    ruin(product)
    rescue, env = tmp_path / "rescue", with_restic(product)
    env |= {"RESTIC_CACHE_DIR": str(tmp_path / "cache")}
    values = {
        "<repository>": str(product.var / "repositories" / "default"),
        "<key-file>": str(key),
        "<rescue>": str(rescue),
        "<snapshot>": taken["snapshot_id"],
    }
    said = process.run(["bash", "-c", document.script(PAGE, values)], env=env, cwd=servers.REPO, timeout=300)
    assert taken["set_id"] in said.stdout
    assert "admin@ragkeep.local" in said.stdout  # out of the portal's own database
    assert (rescue / "extra" / "portal" / "secrets" / "repository_password").read_text() == key.read_text()
    proven(product, before, taken["counts"], rescue)


def filled(product: Product) -> dict[str, str]:
    """Documents by id -> name."""
    with product.api() as api:
        files = {f"rescued-{name}": content for name, content in FILES.items()}
        upload(api, files)
        settled(api, len(files))
        listed = api.get("/api/documents", params={"limit": 100, "state": "ready"}).json()["documents"]
        return {item["id"]: item["name"] for item in listed}


def ruin(product: Product) -> None:
    shutil.rmtree(product.volumes / "vectors" / "live")
    shutil.rmtree(product.volumes / "documents" / "live")
    (product.volumes / "documents" / "live").mkdir()
    with product.rag_database() as connection:
        connection.execute("DROP TABLE chunks CASCADE")


def with_restic(product: Product) -> dict[str, str]:
    return {**product.env, "PATH": f"{servers.RESTIC.parent}:{product.env['PATH']}"}


def proven(product: Product, before: dict[str, str], counts: dict[str, int], rescue: Path) -> None:
    """Documents, rows and vectors are those of the set."""
    with product.api() as api:
        for name, content in FILES.items():
            (found,) = [one for one, known in before.items() if known == f"rescued-{name}"]
            assert api.get(f"/api/documents/{found}/content").content == content
        hits = api.post("/api/search", json={"question": QUESTION}).json()["hits"]
        assert "bakery.docx" in hits[0]["document"]
    with product.rag_database() as connection:
        rows = connection.execute("SELECT name, value FROM backup_counts").fetchall()
        assert {str(name): int(value) for name, value in rows} == counts
        for name in before:
            assert connection.execute("SELECT 1 FROM documents WHERE id = %s", (name,)).fetchone()
        connection.execute("DROP DATABASE rag_before WITH (FORCE)")
    base = f"http://127.0.0.1:{product.port + 13}/api/v2/tenants/default_tenant/databases/default_database/collections"
    there = {one["name"]: one["id"] for one in httpx.get(base).json()}
    for collection in json.loads((rescue / "set.json").read_text())["collections"]:
        assert httpx.get(f"{base}/{there[collection['name']]}/count").json() == collection["vectors"]
    for volume in ("documents", "vectors", "models", "index"):
        shutil.rmtree(product.volumes / volume / "before", ignore_errors=True)
    with product.api() as api:
        for name in before:
            api.delete(f"/api/documents/{name}").raise_for_status()
