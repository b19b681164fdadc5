"""Plain text, and the decoding that HTML and Markdown share."""

from __future__ import annotations

import re
from pathlib import Path

from rag_api.parsing.detect import SUPPORTED, looks_binary
from rag_api.parsing.document import Limits, Page, ParsedDocument, ParseFailure, clean_text

_TITLE_CHARACTERS = 200
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset=[\"']?([\w-]{1,40})", re.I)


def decode(data: bytes, name: str, *, html: bool = False) -> str:
    """Bytes as text: by byte order mark, as UTF-8, by an HTML declaration, else as Latin-1.

    Raises:
        ParseFailure: `binary`, when it is no text at all.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if looks_binary(data):
        raise ParseFailure("binary", f"{name} holds binary data, not text. Upload {SUPPORTED}.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(_declared(data) if html else "latin-1", errors="replace")


def _declared(data: bytes) -> str:
    found = _META_CHARSET.search(data[:4096])
    try:
        # Only what the page declares and Python knows; "utf-8" would have worked before.
        "".encode(charset := found[1].decode("ascii") if found else "latin-1")
    except (LookupError, UnicodeError):
        return "latin-1"
    return charset


def read_text(path: Path, name: str, _limits: Limits) -> ParsedDocument:
    """A text file: one page without a number, titled by its first paragraph when that is short."""
    text = clean_text(decode(path.read_bytes(), name))
    first = " ".join(text.split("\n\n", 1)[0].split())
    title = first if len(first) <= _TITLE_CHARACTERS and len(first) < len(text) else None
    return ParsedDocument([Page(None, text)] if text else [], title or None)
