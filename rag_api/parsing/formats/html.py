"""HTML and Markdown: visible text in reading order, with the path of headings."""

from __future__ import annotations

import re
from pathlib import Path

from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser, LexborNode

from rag_api.parsing.document import Heading, Limits, Page, ParsedDocument, clean_text
from rag_api.parsing.formats.text import decode

# Never shown to a reader. Text that people do not see is the usual carrier of planted instructions.
_INVISIBLE = ", ".join(
    [
        *("script", "style", "noscript", "template", "svg", "iframe", "object", "select", "textarea", "head"),
        *("[hidden]", '[aria-hidden="true"]'),
        *('[style*="display:none" i]', '[style*="display: none" i]'),
        *('[style*="visibility:hidden" i]', '[style*="visibility: hidden" i]'),
        *('[style*="font-size:0" i]', '[style*="font-size: 0" i]'),
    ]
)
_PARAGRAPHS = frozenset(
    ["address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset", "figure",
     "footer", "form", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "ul",
     "h1", "h2", "h3", "h4", "h5", "h6"]
)  # fmt: skip
_LINES = frozenset(["br", "li", "tr", "caption", "option", "legend", "figcaption"])
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)(?:\n|\Z)", re.S)
_FRONT_TITLE = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.M)


def read_html(path: Path, name: str, _limits: Limits) -> ParsedDocument:
    """A web page: what a reader sees of it; scripts, styles and hidden elements are left out."""
    return document_of_html(decode(path.read_bytes(), name, html=True))


def read_markdown(path: Path, name: str, _limits: Limits) -> ParsedDocument:
    """Markdown, rendered to HTML and read as such; the title comes from YAML front matter or the first heading."""
    source = decode(path.read_bytes(), name).replace("\r\n", "\n")
    front = _FRONT_MATTER.match(source)
    body = source[front.end() :] if front else source
    parsed = document_of_html(MarkdownIt("commonmark").enable("table").render(body))
    titled = _FRONT_TITLE.search(front[1]) if front else None
    return ParsedDocument(parsed.pages, titled[1] if titled else parsed.title)


def document_of_html(source: str) -> ParsedDocument:
    """One page without a number; titled by `<title>`, else by the first heading."""
    tree = LexborHTMLParser(source)
    titled = tree.css_first("head title")
    title = clean_text(titled.text()) if titled else ""
    for node in tree.css(_INVISIBLE):
        node.decompose()
    blocks = _blocks(tree.body) if tree.body else []
    text, headings = join_blocks(blocks)
    title = title or (headings[0].text if headings else "")
    return ParsedDocument([Page(None, text, headings)] if text else [], title or None)


def _blocks(body: LexborNode) -> list[tuple[int, str]]:
    """Paragraphs as (heading level or 0, text), walked with a stack because depth is the author's choice."""
    blocks: list[tuple[int, list[str]]] = [(0, [])]
    stack: list[LexborNode | None] = [body]
    while stack:
        node = stack.pop()
        if node is None:
            blocks.append((0, []))
        elif node.tag == "-text":
            blocks[-1][1].append(re.sub(r"\s+", " ", node.text_content or ""))
        elif node.tag is not None:
            _open(node, blocks, stack)
    return [(level, text) for level, parts in blocks if (text := clean_text("".join(parts)))]


def _open(node: LexborNode, blocks: list[tuple[int, list[str]]], stack: list[LexborNode | None]) -> None:
    tag = node.tag or ""
    if tag in _PARAGRAPHS:
        blocks.append((_HEADINGS.get(tag, 0), []))
        stack.append(None)
    elif tag in _LINES:
        blocks[-1][1].append("\n")
    elif tag in ("td", "th"):
        blocks[-1][1].append(" ")
    stack.extend(reversed(list(node.iter(include_text=True))))


def join_blocks(blocks: list[tuple[int, str]]) -> tuple[str, tuple[Heading, ...]]:
    headings, offset = [], 0
    for level, text in blocks:
        if level:
            headings.append(Heading(offset, level, " ".join(text.split())))
        offset += len(text) + 2
    return "\n\n".join(text for _, text in blocks), tuple(headings)
