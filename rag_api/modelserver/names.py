"""Model names as Ollama writes them: `[host/][namespace/]model[:tag]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rag_api.modelserver.errors import BadRequestError

HOST = "registry.ollama.ai"
NAMESPACE = "library"
TAG = "latest"

# Every part starts with a letter, digit or underscore: no part can be "..", hidden, or climb out of the store.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:\-]{0,349}")


@dataclass(frozen=True, slots=True, order=True)
class ModelName:
    """A complete name; `str()` leaves out what is default, as Ollama lists it, but always has the tag."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Fill in the defaults of a name.

        Raises:
            BadRequestError: the name is empty or holds what a name cannot.
        """
        path, _, tag = text.rpartition(":") if ":" in text.rpartition("/")[2] else (text, "", TAG)
        parts = [*([HOST, NAMESPACE][: max(0, 3 - len(path.split("/")))]), *path.split("/")]
        if len(parts) != 3 or not _HOST.fullmatch(parts[0]) or not all(map(_PART.fullmatch, [*parts[1:], tag])):
            raise BadRequestError(f"invalid model name {text!r}: expected model, model:tag or namespace/model:tag")
        return cls(parts[0], parts[1], parts[2], tag)

    @property
    def path(self) -> Path:
        """Where its manifest lies, relative to the folder of manifests."""
        return Path(self.host, self.namespace, self.model, self.tag)

    def __str__(self) -> str:
        parts = [self.host, self.namespace, self.model]
        if self.host == HOST:
            parts = [self.model] if self.namespace == NAMESPACE else [self.namespace, self.model]
        return f"{'/'.join(parts)}:{self.tag}"
