"""From a file to chunks: detect the format, read it in a sandbox, cut it to the embedder's measure."""

from __future__ import annotations

import atexit
from pathlib import Path

from rag_api.parsing import detect
from rag_api.parsing.chunking import Chunk, chunk
from rag_api.parsing.detect import SUFFIXES, SUPPORTED, supported_suffix
from rag_api.parsing.document import Heading, Limits, Page, ParsedDocument, ParseFailure
from rag_api.parsing.formats.docx import read_docx
from rag_api.parsing.formats.html import read_html, read_markdown
from rag_api.parsing.formats.pdf import read_pdf
from rag_api.parsing.formats.text import read_text
from rag_api.parsing.sandbox import Reader, Sandbox

__all__ = [
    "SUFFIXES", "SUPPORTED", "Chunk", "Heading", "Limits", "Page", "ParseFailure", "ParsedDocument", "chunk", "parse",
    "supported_suffix",
]  # fmt: skip

_READERS: dict[str, Reader] = {
    detect.PDF: read_pdf,
    detect.DOCX: read_docx,
    detect.HTML: read_html,
    detect.MARKDOWN: read_markdown,
    detect.TEXT: read_text,
}
# Decoding text runs no parser, so there is nothing to isolate; larger files go to the sandbox for its limits.
_IN_PROCESS_BYTES = 4 * 1024 * 1024

_sandbox = Sandbox()
atexit.register(_sandbox.close)


def parse(path: Path, name: str, limits: Limits | None = None, sandbox: Sandbox | None = None) -> ParsedDocument:
    """Read a document; blocks, so call it from a thread.

    Args:
        path: where the content is; its own name means nothing.
        name: the name as uploaded, for the type and for messages.
        sandbox: where to run the reader; a pool of two processes, shared by all callers, by default.

    Raises:
        ParseFailure: there is no text to be had; its message is a sentence for the owner of the document.
        OSError: the file cannot be opened.
    """
    limits = limits or Limits()
    with path.open("rb") as file:
        kind = detect.detect(file.read(8192), name)
    if kind == detect.TEXT and path.stat().st_size <= _IN_PROCESS_BYTES:
        parsed = read_text(path, name, limits)
    else:
        parsed = (sandbox or _sandbox).read(_READERS[kind], path, name, limits)
    return _checked(parsed, name, limits)


def _checked(parsed: ParsedDocument, name: str, limits: Limits) -> ParsedDocument:
    if not parsed.characters:
        raise ParseFailure("no_text", f"{name} holds no text. Upload a document with text in it.")
    if parsed.characters > limits.characters:
        raise ParseFailure(
            "too_long",
            f"{name} holds {parsed.characters} characters, more than the allowed {limits.characters}. Split it.",
        )
    return parsed
