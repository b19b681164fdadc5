"""Passages: exact offsets, within the embedder's window, never across pages, with the headings they stand under."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_api.parsing import Page, ParsedDocument, chunk
from rag_api.parsing.document import Heading, clean_text
from rag_api.parsing.tokens import measure_of

texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=400).map(lambda part: clean_text(part * 7))


@pytest.mark.parametrize("embedder", ["all-minilm", "nomic-embed-text"])
@settings(max_examples=60, deadline=None)
@given(pages=st.lists(texts, max_size=3), title=st.one_of(st.none(), st.text(max_size=300)))
def test_offsets_are_exact_and_nothing_is_lost(embedder: str, pages: list[str], title: str | None) -> None:
    parsed = ParsedDocument([Page(number, text) for number, text in enumerate(pages, 1)], title)
    chunks = chunk(parsed, embedder)
    measure = measure_of(embedder)
    assert [piece.ordinal for piece in chunks] == list(range(len(chunks)))
    for number, text in enumerate(pages, 1):
        own = [piece for piece in chunks if piece.page == number]
        assert all(piece.text == text[piece.start : piece.end] for piece in own)
        assert all(left.end <= right.start for left, right in itertools.pairwise(own))
        assert "".join("".join(piece.text for piece in own).split()) == "".join(text.split())
    assert all(measure.count(piece.indexed_text) <= measure.limit + 2 for piece in chunks)


def test_a_long_line_without_blanks_is_still_cut() -> None:
    chunks = chunk(ParsedDocument([Page(None, "QUJD" * 5000)]))
    assert max(len(piece.text) for piece in chunks) <= 254 * 8
    assert sum(len(piece.text) for piece in chunks) == 20_000


def test_a_passage_names_the_headings_above_it() -> None:
    sections = ["Manual", "Pumps", "Oil the pump. " * 120, "Valves", "Turn the valve. " * 120]
    text, headings, offset = "\n\n".join(sections), [], 0
    for section, level in zip(sections, (1, 2, 0, 2, 0), strict=True):
        if level:
            headings.append(Heading(offset, level, section))
        offset += len(section) + 2
    chunks = chunk(ParsedDocument([Page(None, text, tuple(headings))], "Manual"))
    assert chunks[0].heading == ""
    assert chunks[1].heading == "Manual > Pumps"
    assert chunks[-1].heading == "Manual > Valves"
    assert chunks[-1].indexed_text.startswith("Manual > Valves\nTurn")


def test_a_short_document_is_one_passage() -> None:
    (only,) = chunk(ParsedDocument([Page(3, "Granite is hard.")], "Rocks"))
    assert (only.text, only.page, only.start, only.end, only.heading) == ("Granite is hard.", 3, 0, 16, "Rocks")
