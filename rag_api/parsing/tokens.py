"""How many tokens an embedder sees in a text."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Tokenizer

Counter = Callable[[str], int]

# A word piece tokenizer gives any "word" of more than 100 characters one token, so a line of base64 would count as
# nothing. No chunk may be longer than this many characters a token, whatever the tokenizer says.
_CHARACTERS_PER_TOKEN = 8
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Measure:
    """An embedder's window: `limit` tokens of content (special tokens taken off), and how to count them."""

    limit: int
    count: Counter


@cache
def measure_of(embedder: str) -> Measure:
    """The measure of an embedding model by its Ollama name.

    all-minilm is counted with its own tokenizer where that is installed. For any other model tokens are estimated,
    on the high side, against the smallest window in use (256).
    """
    tokenizer = _minilm() if embedder.split(":")[0] == "all-minilm" else None
    if tokenizer is None:
        return Measure(254, _estimate)
    return Measure(254, _counter(tokenizer))


def _counter(tokenizer: Tokenizer) -> Counter:
    def count(text: str) -> int:
        tokens = len(tokenizer.encode(text, add_special_tokens=False).ids)
        return max(tokens, len(text) // _CHARACTERS_PER_TOKEN)

    return count


def _estimate(text: str) -> int:
    return max(len(_WORD.findall(text)) * 3 // 2, len(text) // 4)


def _minilm() -> Tokenizer | None:
    # Found without importing: that package prints when it is imported.
    spec = find_spec("all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    archive = Path(spec.origin).parent / "model.zip"
    if not archive.exists():
        return None
    with zipfile.ZipFile(archive) as model:
        tokenizer = Tokenizer.from_str(model.read("tokenizer.json").decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
