"""Texts to vectors, for programs that keep an index of their own."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any, Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from rag_api.embedder import Embedded, Embedder
from rag_api.errors import EmbedderRefusedError
from rag_api.openai.errors import RequestRefusedError, too_long, unsupported
from rag_api.openai.wire import EmbeddingsRequest

MOST_TEXTS: Final = 2048
TEXT_CHARACTERS: Final = 32_000
# A call: seconds of work, after which somebody else has a turn and a client that went away is noticed.
_BATCH = 64


def texts_of(wanted: Any) -> list[str]:  # noqa: ANN401 - as it came
    """The texts of a request's `input`.

    Raises:
        RequestRefusedError: it is not a text or a list of them, or too many, empty or too long ones.
    """
    texts = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST_TEXTS:
        raise RequestRefusedError("input", f"input is a string or a list of 1 to {MOST_TEXTS:,} strings.")
    for index, text in enumerate(texts):
        _check(f"input[{index}]", text)
    return texts


def _check(param: str, text: object) -> None:
    if isinstance(text, int | list):
        raise unsupported(param, "Numbers of tokens differ from model to model: send the text itself.")
    if not isinstance(text, str) or not text:
        raise RequestRefusedError(param, "A text to embed is a string that is not empty.")
    if len(text) > TEXT_CHARACTERS:
        raise too_long(param, f"A text may have {TEXT_CHARACTERS:,} characters, not {len(text):,}; cut it in pieces.")


async def embed(embedder: Embedder, wanted: EmbeddingsRequest, request: Request) -> dict[str, Any]:
    """The vectors, as numbers or as base64 of little-endian 32-bit floats; stops when the asker is gone.

    Raises:
        RequestRefusedError: the texts or the form of the vectors cannot be had.
        EmbedderDownError: the model server does not answer.
    """
    texts = texts_of(wanted.input)
    vectors: list[list[float]] = []
    tokens = 0
    for first in range(0, len(texts), _BATCH):
        done = await run_in_threadpool(_batch, embedder, texts[first : first + _BATCH], first)
        _check_length(wanted.dimensions, done.vectors)
        vectors += done.vectors
        tokens += done.tokens
        if await request.is_disconnected():
            break
    coded = [_base64(vector) for vector in vectors] if wanted.encoding_format == "base64" else vectors
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(coded)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": wanted.model, "usage": usage}


def _batch(embedder: Embedder, texts: Sequence[str], first: int) -> Embedded:
    try:
        return embedder.embed_whole(texts)
    except EmbedderRefusedError as error:
        which = f"input[{first}]" if len(texts) == 1 else f"one of input[{first}] to input[{first + len(texts) - 1}]"
        raise too_long("input", f"The embedding model refused {which} ({error}); cut it in pieces.") from error


def _check_length(dimensions: int | None, vectors: Sequence[Sequence[float]]) -> None:
    length = len(vectors[0])
    if dimensions not in {None, length}:
        raise unsupported("dimensions", f"The model's vectors have {length} numbers and are not shortened.")


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
