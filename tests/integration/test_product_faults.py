"""kill -9 of the agent and of the worker in the middle of a freeze and of a swap: nobody needs to help."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.documents import corpus
from tests.support.kills import Verb, complete_sets, gate_is_open, kill_agent, kill_worker, snapshots
from tests.support.product import Product, settled, upload
from tests.support.servers import wait_until

pytestmark = pytest.mark.integration


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
    assert set(snapshots(product)) >= complete_sets(product)
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
