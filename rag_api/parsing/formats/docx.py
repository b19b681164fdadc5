"""Word documents: paragraphs, headings and tables in reading order."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import docx
from docx.document import Document
from docx.table import Table, _Cell
from docx.text.paragraph import Paragraph

from rag_api.parsing.document import Limits, Page, ParsedDocument, ParseFailure, clean_text
from rag_api.parsing.formats.html import join_blocks

_HEADING = re.compile(r"^heading (\d)$", re.I)
_SMALL = 16 * 1024 * 1024


def read_docx(path: Path, name: str, limits: Limits) -> ParsedDocument:
    """A Word document: one page without a number, since pages only exist in Word's own layout.

    Raises:
        ParseFailure: `bomb`, `unreadable` or `encrypted`.
    """
    check_container(path, name, limits)
    try:
        document = docx.Document(str(path))
        blocks = [(level, text) for level, raw in _blocks(document) if (text := clean_text(raw))]
    except ParseFailure:
        raise
    except Exception as error:  # python-docx raises KeyError, ValueError, lxml's and its own errors on damaged files
        raise _unreadable(name) from error
    text, headings = join_blocks(blocks)
    title = clean_text(document.core_properties.title or "") or (headings[0].text if headings else "")
    return ParsedDocument([Page(None, text, headings)] if text else [], title or None)


def check_container(path: Path, name: str, limits: Limits) -> None:
    """Refuse a container that is no DOCX or would unpack to more than `limits` allow, before unpacking anything.

    The declared sizes can be trusted: zipfile never reads a member beyond the size its entry declares.

    Raises:
        ParseFailure: `bomb`, `encrypted` or `unreadable`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(name) from error
    total, packed = sum(member.file_size for member in members), max(1, path.stat().st_size)
    swollen = total > _SMALL and total > limits.ratio * packed
    if len(members) > limits.entries or total > limits.unpacked or swollen:
        raise ParseFailure(
            "bomb", f"{name} would unpack to far more than a document needs ({total // 2**20} MiB). It was not opened."
        )
    if any(member.flag_bits & 1 for member in members):
        raise ParseFailure("encrypted", f"{name} is protected by a password. Save a copy without it and upload that.")
    if "word/document.xml" not in {member.filename for member in members}:
        raise ParseFailure("unreadable", f"{name} is not a Word document. Save it as DOCX and upload it again.")


def _unreadable(name: str) -> ParseFailure:
    return ParseFailure(
        "unreadable", f"{name} is not a readable Word document: it is damaged or cut short. Save it as DOCX again."
    )


def _blocks(container: Document) -> Iterator[tuple[int, str]]:
    for item in container.iter_inner_content():
        if isinstance(item, Table):
            yield 0, "\n".join(_rows(item))
        else:
            yield _level(item), item.text


def _level(paragraph: Paragraph) -> int:
    style = (paragraph.style.name if paragraph.style else None) or ""
    if style == "Title":
        return 1
    found = _HEADING.match(style)
    return int(found[1]) if found else 0


def _rows(table: Table) -> Iterator[str]:
    for row in table.rows:
        # A merged cell is listed once for every column it spans.
        cells = dict.fromkeys(cell._tc for cell in row.cells)
        yield " | ".join(_cell_text(_Cell(cell, table)) for cell in cells)


def _cell_text(cell: _Cell) -> str:
    parts = ("\n".join(_rows(item)) if isinstance(item, Table) else item.text for item in cell.iter_inner_content())
    return " ".join(" ".join(parts).split())
