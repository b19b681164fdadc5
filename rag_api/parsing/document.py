"""What parsing takes and gives: limits, pages with headings, and the one error."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost. Sizes are bytes unless the name says otherwise.

    Attributes:
        pages: pages of a PDF.
        characters: characters of text in the whole document.
        seconds: wall clock and processor time of one parse.
        memory: address space of the parsing process.
        unpacked, ratio, entries: caps on a ZIP container (DOCX): total after unpacking, that total over the size of
            the file, and number of members.
    """

    pages: int = 3000
    characters: int = 10_000_000
    seconds: int = 60
    memory: int = 1536 * MIB
    unpacked: int = 256 * MIB
    ratio: int = 200
    entries: int = 5000


class ParseFailure(Exception):  # noqa: N818 - the contract's name: a finding about a document, not a fault of ours
    """A document gives no text.

    Attributes:
        code: `empty`, `no_text`, `unreadable`, `encrypted`, `bomb`, `too_many_pages`, `too_long`, `type_mismatch`,
            `unsupported`, `binary`, `timeout` or `crashed`.
        message: a sentence for the owner of the document: what, and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(code, message)  # both, so that it survives pickling between processes

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading that begins at character `offset` of its page; `level` 1 is the highest."""

    offset: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """Text of one page. `number` counts from 1, None where the format has no pages."""

    number: int | None
    text: str
    headings: tuple[Heading, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    pages: list[Page] = field(default_factory=list)
    title: str | None = None

    @property
    def characters(self) -> int:
        return sum(len(page.text) for page in self.pages)


_BLANKS = re.compile(r"[^\S\n]+")
_AROUND_NEWLINE = re.compile(r" ?\n ?")
_NEWLINES = re.compile(r"\n{3,}")
# C0 and C1 controls but tab and newline, lone surrogates, and the two non-characters: Postgres, JSON or readers choke.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff\u00ad\u200b]")


def clean_text(text: str) -> str:
    """Normalise white space and drop characters that no store keeps.

    Runs of blanks become one space, three and more newlines two. Besides being tidier this bounds the recursion of
    the chunker, which splits at the longest run of white space first.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n").replace("\u2028", "\n")
    text = _UNWANTED.sub("", text)
    text = _AROUND_NEWLINE.sub("\n", _BLANKS.sub(" ", text))
    return _NEWLINES.sub("\n\n", text).strip()
