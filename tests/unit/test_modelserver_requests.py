"""What the model server makes of names, durations and GGUF headers."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from rag_api.modelserver import packaged
from rag_api.modelserver.errors import BadRequestError, ModelNotFoundError, StoreDamagedError
from rag_api.modelserver.gguf import read_header
from rag_api.modelserver.keepalive import keep_alive_seconds
from rag_api.modelserver.names import ModelName


@pytest.mark.parametrize(
    ("text", "path", "shown"),
    [
        ("smollm2", "registry.ollama.ai/library/smollm2/latest", "smollm2:latest"),
        ("smollm2:135m", "registry.ollama.ai/library/smollm2/135m", "smollm2:135m"),
        ("me/mine", "registry.ollama.ai/me/mine/latest", "me/mine:latest"),
        ("host:5000/me/mine:v1", "host:5000/me/mine/v1", "host:5000/me/mine:v1"),
    ],
)
def test_names_are_completed(text: str, path: str, shown: str) -> None:
    name = ModelName.parse(text)

    assert name.path == Path(path)
    assert str(name) == shown
    assert ModelName.parse(shown) == name


@pytest.mark.parametrize(
    "text", ["", ":", "a:", "..", "../../etc", "a/..:b", "a:../b", "/etc/passwd", "a/b/c/d", "a b"]
)
def test_names_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadRequestError, match="invalid model name"):
        ModelName.parse(text)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 300), (0, 0), (1.5, 1.5), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("90", 90), (-1, math.inf),
     ("-1", math.inf), ("-1m", math.inf)],
)  # fmt: skip
def test_keep_alive_reads_durations(value: str | float | None, seconds: float) -> None:
    assert keep_alive_seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "soon", "5 minutes", "m5", "5x"])
def test_keep_alive_refuses_what_is_no_duration(value: str) -> None:
    with pytest.raises(BadRequestError, match="not a duration"):
        keep_alive_seconds(value)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf_header() -> bytes:
    entries = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("general.file_type") + struct.pack("<II", 4, 3),
        text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
        text("scores") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3),
        text("llama.context_length") + struct.pack("<II", 4, 8192),
    ]
    tensors = [
        text("a") + struct.pack("<IQQIQ", 2, 10, 20, 0, 0),
        text("b") + struct.pack("<IQIQ", 1, 7, 0, 0),
    ]
    return struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries)) + b"".join(entries + tensors)


def test_gguf_header_is_read(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf_header())

    header = read_header(file)

    assert header.parameters == 207
    assert (header.architecture, header.quantization, header.context_length) == ("llama", "Q4_1", 8192)
    assert header.metadata["tokens"] is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + b"\0" * 40, gguf_header()[:-3]])
def test_files_that_are_no_gguf_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)

    with pytest.raises(StoreDamagedError, match="not a GGUF file"):
        read_header(file)


def test_unknown_package_names_what_there_is() -> None:
    with pytest.raises(ModelNotFoundError, match=r"'llama3:latest' not found.*smollm2:135m.*all-minilm:latest"):
        packaged.find(ModelName.parse("llama3"))


def test_model_whose_package_is_missing_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged.SmolLM2, "packages", ("no_such_package",))

    with pytest.raises(ModelNotFoundError, match="install the package no_such_package"):
        packaged.find(ModelName.parse("smollm2"))
