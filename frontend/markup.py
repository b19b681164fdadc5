"""What a model wrote, made safe to render.

A document can talk a model into writing an image or a link whose address carries what it read (EchoLeak,
CVE-2025-32711): a browser would fetch the image unasked. Images and links are therefore shown as text.
"""

from __future__ import annotations

import re

# Backslash-escaping these makes CommonMark show them as they are; emphasis, lists and code stay rendered.
_ACTIVE = re.compile(r"[\[\]<>]")
# GitHub-flavoured Markdown turns a bare address into a link; a zero-width space after the scheme prevents it.
_BARE_ADDRESS = re.compile(r"(?i)\b(https?:|ftp:|mailto:|www\.)(?=\S)")
# Streamlit would render these as mathematics, icons and coloured text.
_STREAMLIT = re.compile(r"[$:]")


def inert(text: str) -> str:
    """Return Markdown that renders `text` without links, images, HTML or Streamlit's own directives."""
    text = _BARE_ADDRESS.sub(lambda match: f"{match[1]}\u200b", text)
    text = _ACTIVE.sub(lambda match: f"\\{match[0]}", text)
    return _STREAMLIT.sub(lambda match: f"\\{match[0]}", text)
