"""Deploying, rolling back and the way back by itself, with the commands of an installation."""

from __future__ import annotations

import json

import pytest

from tests.support.product import Product

pytestmark = pytest.mark.integration


def serving(product: Product) -> int:
    (number,) = [one["release"] for one in product.json("releases")["releases"] if one["state"] == "current"]
    return int(number)


def test_a_setting_is_deployed_and_rolled_back(product: Product) -> None:
    before, level = serving(product), product.variables("api")["LOG_LEVEL"]
    assert product.json("plan")["nothing"] is True
    product.set_pending(LOG_LEVEL="WARNING")
    plan = product.json("plan")
    assert {row["service"] for row in plan["changes"] if row["action"] != "keep"} == {"api", "ingest"}
    assert list(plan["settings"]) == ["LOG_LEVEL"]
    assert plan["touches"] == []
    made = product.json("deploy", "--note", "only what matters", "--yes")
    assert made["changes"] == {"api": "recreate", "ingest": "recreate"}
    assert product.variables("api")["LOG_LEVEL"] == "WARNING"
    assert product.json("releases", "--diff", str(before), str(made["release"]))["settings"]
    product.json("rollback", str(before), "--yes")
    assert product.variables("api")["LOG_LEVEL"] == level
    assert product.json("status")["healthy"] is True


def test_a_release_that_cannot_start_leaves_the_old_one_serving(product: Product) -> None:
    before = serving(product)
    product.set_pending(MAX_UPLOAD_BYTES="as many as there are")
    told = product.manage("deploy", "--yes", "--json", check=False)
    assert told.returncode == 1
    error = json.loads(told.stdout)["error"]
    assert error["code"] == "service_failed"
    assert f"Release {before} serves again." in error["message"]
    assert serving(product) == before
    assert product.json("status")["healthy"] is True
    with product.api() as api:
        assert api.get("/api/me").status_code == 200
    product.set_pending()
    assert product.json("plan")["nothing"] is True
