"""Who is next: questions first, others not never, and nobody lost who gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from rag_api.modelserver.line import IN_A_ROW, Line


async def order(waiting: Iterable[tuple[str, bool]]) -> list[str]:
    """Let these wait behind one that has it; returns the order in which they had their turns."""
    line, served = Line(), list[str]()

    async def wait(name: str, question: bool) -> None:
        await line.acquire(question=question)
        served.append(name)
        line.release()

    await line.acquire()
    tasks = [asyncio.create_task(wait(name, question)) for name, question in waiting]
    await asyncio.sleep(0)
    line.release()
    await asyncio.gather(*tasks)
    assert not line.locked()
    return served


def test_questions_go_first_and_each_kind_keeps_its_order() -> None:
    waiting = [("a", False), ("b", False), ("1", True), ("2", True)]
    assert asyncio.run(order(waiting)) == ["1", "2", "a", "b"]


def test_after_some_questions_somebody_else_has_a_turn() -> None:
    questions = [(str(n), True) for n in range(IN_A_ROW + 2)]
    served = asyncio.run(order([("document", False), *questions]))
    assert served.index("document") == IN_A_ROW


@pytest.mark.parametrize("moment", ["before", "with it", "after"])
def test_one_that_gives_up_is_passed_over(moment: str) -> None:
    """It gives up before it is its turn, at the moment when somebody lets go, or when it was handed over already."""

    async def scene() -> bool:
        line = Line()
        await line.acquire()
        leaving, staying = (asyncio.create_task(line.acquire(question=first)) for first in (True, False))
        await asyncio.sleep(0)
        if moment == "after":
            line.release()
        leaving.cancel()
        if moment == "with it":
            line.release()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        if moment == "before":
            line.release()
        await asyncio.wait_for(staying, 1)
        line.release()
        return line.locked()

    assert asyncio.run(scene()) is False
