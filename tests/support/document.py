"""A document of the manual as something that can be followed word for word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

# Blocks stand at the margin, or in a list: then the list's indentation is no part of them.
_BLOCK = re.compile(r"(?ms)^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$")
_ROW = re.compile(r"(?m)^\| `(<[a-z-]+>)` \|")
_PLACEHOLDER = re.compile(r"<[a-z][a-z-]*>")


def shell_blocks(page: Path) -> list[str]:
    """Every shell block of the page, in order."""
    found = []
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match["language"] not in ("", "sh", "bash"):
            continue
        indent = len(match["indent"])
        found.append("".join(line[indent:] for line in match["text"].splitlines(keepends=True)))
    return found


def script(page: Path, values: Mapping[str, str]) -> str:
    """All blocks as one script that stops at the first error, the placeholders of the page's own table filled in."""
    blocks = shell_blocks(page)
    promised = set(_ROW.findall(page.read_text(encoding="utf-8")))
    used = {name for block in blocks for name in _PLACEHOLDER.findall(block)}
    assert used == promised, f"placeholders of the blocks and of the table differ: {used ^ promised}"
    assert promised == set(values)
    text = "\n".join(blocks)
    for name, value in values.items():
        text = text.replace(name, value)
    return f"set -euo pipefail\n{text}"
