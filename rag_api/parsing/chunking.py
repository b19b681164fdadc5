"""Cutting a parsed document into passages that an embedder sees whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from rag_api.parsing.document import Heading, Page, ParsedDocument
from rag_api.parsing.tokens import Measure, measure_of

_CONTEXT_TOKENS = 40
_PATH = " > "


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage.

    Attributes:
        ordinal: position in the document, from 0.
        text: exactly `page.text[start:end]` of its page.
        page: number of the page, None where the format has none.
        heading: title and headings above it, outermost first, joined by ` > `; empty when there are none.
    """

    ordinal: int
    text: str
    page: int | None
    start: int
    end: int
    heading: str

    @property
    def indexed_text(self) -> str:
        """What to embed and to index: the passage with the headings it stands under."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


def chunk(parsed: ParsedDocument, embedder: str = "all-minilm") -> list[Chunk]:
    """Cut a document into passages that fit `embedder` together with their headings; none crosses a page."""
    measure = measure_of(embedder)
    title = _shortened(parsed.title or "", measure)
    chunks: list[Chunk] = []
    for page in parsed.pages:
        for start, end in _spans(page.text, title, measure):
            heading = _heading(page, start, title, measure)
            chunks.append(Chunk(len(chunks), page.text[start:end], page.number, start, end, heading))
    return chunks


def _spans(text: str, title: str, measure: Measure) -> Iterator[tuple[int, int]]:
    total, room = measure.count(text), measure.limit - _CONTEXT_TOKENS
    if total <= (measure.limit if text.startswith(title) else room):
        yield 0, len(text)
        return
    # Even pieces: a passage of three words at the end of a page finds nothing and is found by accident.
    size = min(room, total // -(-total // room) + room // 10)
    for start, end in _split(text, size, measure):
        piece = text[start:end]
        if piece.strip():
            yield start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def _split(text: str, size: int, measure: Measure) -> list[tuple[int, int]]:
    # Imported here, because the parsing processes import this package too and never cut anything: 1 s and 20 MB each.
    from semchunk.semchunk import chunk as split

    # The cache of semchunk is global and grows with every document, so it stays off.
    result = cast(
        "tuple[list[str], list[tuple[int, int]]]", split(text, size, measure.count, memoize=False, offsets=True)
    )
    return result[1]


def _heading(page: Page, start: int, title: str, measure: Measure) -> str:
    path = [heading.text for heading in _open_headings(page.headings, start)]
    if title and title not in path and not _begins_with(page.text, start, title):
        path.insert(0, title)
    return _shortened(_PATH.join(path), measure)


def _begins_with(text: str, start: int, title: str) -> bool:
    return " ".join(text[start : start + 2 * len(title)].split()).startswith(title)


def _open_headings(headings: tuple[Heading, ...], start: int) -> list[Heading]:
    """The headings above a passage that begins at `start`, without one that the passage itself begins with."""
    above: list[Heading] = []
    for heading in headings:
        if heading.offset >= start:
            break
        above = [outer for outer in above if outer.level < heading.level] + [heading]
    return above


def _shortened(text: str, measure: Measure) -> str:
    """`text` without its last words until it leaves the passage its room."""
    while text and measure.count(text) > _CONTEXT_TOKENS - 2:
        text = text[: len(text) * 3 // 4].rsplit(None, 1)[0] if " " in text else ""
    return text
