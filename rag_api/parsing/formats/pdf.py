"""PDF through pdfium."""

from __future__ import annotations

from pathlib import Path

import pypdfium2
from pypdfium2 import raw

from rag_api.parsing.document import Limits, Page, ParsedDocument, ParseFailure, clean_text


def read_pdf(path: Path, name: str, limits: Limits) -> ParsedDocument:
    """A PDF page by page.

    Raises:
        ParseFailure: `encrypted`, `unreadable`, `too_many_pages`, or `no_text` for a scan.
    """
    document = _open(path, name)
    try:
        if len(document) > limits.pages:
            raise ParseFailure(
                "too_many_pages",
                f"{name} has {len(document)} pages, more than the {limits.pages} that are allowed. Split it.",
            )
        pages = [Page(number + 1, _text(document, number)) for number in range(len(document))]
        title = clean_text(document.get_metadata_value("Title"))
    finally:
        document.close()
    if not any(page.text for page in pages):
        raise ParseFailure(
            "no_text", f"{name} has pages but no text: it looks scanned. Run text recognition on it, then upload it."
        )
    return ParsedDocument([page for page in pages if page.text], title or None)


def _open(path: Path, name: str) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise ParseFailure(
                "encrypted", f"{name} is protected by a password. Save a copy without the password and upload that."
            ) from error
        raise ParseFailure(
            "unreadable", f"{name} is not a readable PDF: it is damaged or cut short. Export it again."
        ) from error


def _text(document: pypdfium2.PdfDocument, number: int) -> str:
    try:
        page = document[number]
    except pypdfium2.PdfiumError:
        return ""  # one broken page must not cost the reader the others
    text = page.get_textpage()
    try:
        # U+FFFE is pdfium's mark of a hyphen at the end of a line: the word goes on.
        return clean_text(text.get_text_bounded().replace("\ufffe\r\n", "").replace("\ufffe", ""))
    finally:
        text.close()
        page.close()
