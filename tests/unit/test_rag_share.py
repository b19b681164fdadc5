"""When a question is asked without a filter, and for how many hits then."""

from __future__ import annotations

from uuid import uuid4

import pytest

from rag_api.retrieval.share import share_of, unfiltered_depth


def test_share_is_that_of_chunks_and_names_count_once() -> None:
    mine, shared, others = uuid4(), uuid4(), uuid4()
    counts = {mine: 60, shared: 20, others: 20}
    assert share_of(counts, [mine, shared, mine]) == pytest.approx(0.8)
    assert share_of(counts, [uuid4()]) == 0
    assert share_of({}, [mine]) == 0


@pytest.mark.parametrize(("share", "depth"), [(1.0, 120), (0.8, 145), (0.5, 220), (0.49, None), (0.0, None)])
def test_depth_makes_up_for_what_is_dropped(share: float, depth: int | None) -> None:
    assert unfiltered_depth(share, 100, 20) == depth
