"""The header of a GGUF file: metadata and the number of parameters.

Format: github.com/ggml-org/ggml docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rag_api.modelserver.errors import StoreDamagedError

Value = int | float | bool | str | None

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata (arrays are None, as in Ollama's `show`) and the sum of all tensors' elements."""

    metadata: dict[str, Value]
    parameters: int

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def quantization(self) -> str:
        kind = self.metadata.get("general.file_type")
        return _FILE_TYPES.get(kind, "unknown") if isinstance(kind, int) else "unknown"

    @property
    def context_length(self) -> int | None:
        """The context the model was trained for, in tokens."""
        length = self.metadata.get(f"{self.architecture}.context_length")
        return length if isinstance(length, int) else None


def read_header(path: Path) -> Header:
    """Parse the header of a file.

    Raises:
        StoreDamagedError: it is not a GGUF file, or ends too early.
    """
    try:
        with path.open("rb") as stream:
            return _header(stream)
    except (struct.error, UnicodeDecodeError, KeyError, ValueError):
        raise StoreDamagedError(f"{path.name} is not a GGUF file that can be read") from None


def _header(stream: BinaryIO) -> Header:
    magic, _version, tensors, entries = struct.unpack("<4sIQQ", stream.read(24))
    if magic != b"GGUF":
        raise ValueError("magic")
    metadata = {_string(stream): _value(stream, int(_scalar(stream, "I"))) for _ in range(entries)}
    return Header(metadata, sum(_tensor_elements(stream) for _ in range(tensors)))


def _scalar(stream: BinaryIO, code: str) -> int | float | bool:
    value: int | float | bool = struct.unpack(f"<{code}", stream.read(struct.calcsize(f"<{code}")))[0]
    return value


def _string(stream: BinaryIO) -> str:
    return stream.read(int(_scalar(stream, "Q"))).decode()


def _value(stream: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _string(stream)
    if kind != _ARRAY:
        return _scalar(stream, _SCALARS[kind])
    inner, count = int(_scalar(stream, "I")), int(_scalar(stream, "Q"))
    if inner in _SCALARS:
        stream.seek(count * struct.calcsize(f"<{_SCALARS[inner]}"), 1)
    else:
        for _ in range(count):
            _value(stream, inner)
    return None


def _tensor_elements(stream: BinaryIO) -> int:
    _string(stream)
    dimensions = int(_scalar(stream, "I"))
    elements = math.prod(int(_scalar(stream, "Q")) for _ in range(dimensions))
    _scalar(stream, "I")
    _scalar(stream, "Q")
    return elements
