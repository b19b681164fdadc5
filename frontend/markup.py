"""What a model wrote, made safe to render.

A document can talk a model into writing an image or a link whose address carries what it read (EchoLeak,
CVE-2025-32711): a browser would fetch the image unasked. Images and links are therefore shown as text.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# Backslash-escaping these makes CommonMark show them as they are; emphasis, lists and code stay rendered.
_ACTIVE = re.compile(r"[\[\]<>]")
# GitHub-flavoured Markdown turns bare addresses into links; a zero-width space inside prevents it.
_BARE_ADDRESS = re.compile(r"(?i)\b(https?:|ftp:|mailto:|www)(?=[./])")
_MAIL = re.compile(r"@(?=\S)")
# Streamlit would render these as mathematics, icons and coloured text.
_STREAMLIT = re.compile(r"[$:]")
_CITATION = re.compile(r"(?P<before>\S?)(?P<space>\s*)\\\[(?P<n>\d{1,2})\\\]")


def inert(text: str) -> str:
    """Return Markdown that renders `text` without links, images, HTML or Streamlit's own directives."""
    text = _BARE_ADDRESS.sub(lambda match: f"{match[1]}\u200b", text)
    text = _MAIL.sub("@\u200b", text)
    text = _ACTIVE.sub(lambda match: f"\\{match[0]}", text)
    return _STREAMLIT.sub(lambda match: f"\\{match[0]}", text)


def answered(text: str, numbers: Collection[int]) -> str:
    """Return `text` made inert, with each citation of a passage in `numbers` as the badge that its passage bears."""

    def badge(match: re.Match[str]) -> str:
        if int(match["n"]) not in numbers:
            return match[0]
        return f"{match['before']} {mark(int(match['n']))}"

    return _CITATION.sub(badge, inert(text))


def mark(number: int, *, cited: bool = True) -> str:
    """The badge of passage `number`; one that the answer does not cite is grey."""
    return f":{'primary' if cited else 'gray'}-badge[{number}]"
