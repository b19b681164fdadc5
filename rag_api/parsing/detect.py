"""Which format a file is, judged by its content first and its name second."""

from __future__ import annotations

import re
from pathlib import PurePath

from rag_api.parsing.document import ParseFailure

PDF, DOCX, HTML, MARKDOWN, TEXT = "pdf", "docx", "html", "markdown", "text"

SUFFIXES = {
    ".pdf": PDF,
    ".docx": DOCX,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": TEXT,
    ".text": TEXT,
    ".log": TEXT,
    ".csv": TEXT,
    ".tsv": TEXT,
    ".rst": TEXT,
    "": TEXT,
}
SUPPORTED = "PDF, DOCX, HTML, Markdown and text"

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_HTML = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.I | re.S
)
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r\x0c\x1b") + b"\x7f"


def supported_suffix(name: str) -> bool:
    """Whether a file of this name can be a document, before anything of it is read."""
    return PurePath(name).suffix.lower() in SUFFIXES


def detect(head: bytes, name: str) -> str:
    """Name the format of a file.

    Args:
        head: its first 8 KiB, or all of it when it is shorter.
        name: its name as uploaded; never opened.

    Returns:
        One of `pdf`, `docx`, `html`, `markdown`, `text`.

    Raises:
        ParseFailure: `empty`, `unsupported`, `type_mismatch`, `unreadable`, `encrypted` or `binary`.
    """
    if not head.strip():
        raise ParseFailure("empty", f"{name} is empty: nothing can be read from it. Upload the file with its content.")
    expected = SUFFIXES.get(PurePath(name).suffix.lower())
    if expected is None:
        raise ParseFailure("unsupported", f"{name} is of a type that is not supported. Upload {SUPPORTED}.")
    found = _by_content(head)
    if found == expected or (found == TEXT and expected in (HTML, MARKDOWN)):
        return expected
    if found == HTML and expected in (TEXT, MARKDOWN):
        return found if expected == TEXT else expected
    raise _mismatch(found, expected, name)


def _by_content(head: bytes) -> str:
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith(_ZIP):
        return DOCX
    if head.startswith(_OLE):
        return "office"
    if looks_binary(head):
        return "binary"
    return HTML if _HTML.match(head) else TEXT


def looks_binary(data: bytes) -> bool:
    """Whether bytes are no text: NUL outside UTF-16, or more than one control character in fifty."""
    if data.startswith(_UTF16):
        return False
    controls = len(data) - len(data.translate(None, _CONTROLS))
    return b"\0" in data or controls * 50 > len(data)


def _mismatch(found: str, expected: str, name: str) -> ParseFailure:
    if found == "office":
        return ParseFailure(
            "encrypted" if expected == DOCX else "unsupported",
            f"{name} is a Word document with a password, or one of Word 97-2003. Save it as DOCX without a password.",
        )
    if expected == PDF:
        return ParseFailure("unreadable", f"{name} is not a readable PDF: it does not begin like one. Export it again.")
    if expected == DOCX:
        return ParseFailure("unreadable", f"{name} is not a Word document. Save it as DOCX and upload it again.")
    if found in (PDF, DOCX):
        kind = "a PDF" if found == PDF else "a ZIP or Office file"
        return ParseFailure("type_mismatch", f"{name} holds {kind}, not what its name says. Rename it, then upload it.")
    return ParseFailure("binary", f"{name} holds binary data, not text. Upload {SUPPORTED}.")
