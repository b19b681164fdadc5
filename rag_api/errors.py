"""Errors of the RAG service.

ServiceError
├── ApiError             answered to a client as {"error": {"code", "message"}} with its status
│   └── ModelUnavailableError  503, the language model cannot answer
└── UnavailableError     a dependency is down or busy: worth another try later
    ├── EmbedderDownError
    └── VectorsDownError
EmbedderRefusedError, VectorsRefusedError  the dependency understood and said no: no use trying the same again
"""

from __future__ import annotations


class ServiceError(Exception):
    """Anything this service raises on purpose."""


class ApiError(ServiceError):
    """A request that cannot be served; `message` says what, where and what to do."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        self.message = message
        super().__init__(f"{status} {code}")


class ModelUnavailableError(ApiError):
    """The language model cannot answer now; `why` is part of a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(503, "model_unavailable", f"The language model cannot answer right now ({why}).")


class UnavailableError(ServiceError):
    """A dependency did not answer; nothing is lost, the work is repeated later."""


class EmbedderDownError(UnavailableError):
    """Ollama (or the model server) cannot be reached, is overloaded or lacks the model."""


class VectorsDownError(UnavailableError):
    """Chroma cannot be reached or failed inside."""


class EmbedderRefusedError(ServiceError):
    """The model server refused the texts themselves."""


class VectorsRefusedError(ServiceError):
    """Chroma refused the request itself, for example a wrong dimension."""


def search_refused() -> ApiError:
    """What an asker is told of EmbedderRefusedError and VectorsRefusedError."""
    return ApiError(
        503,
        "search_unavailable",
        "The documents cannot be searched right now: the embedding model is missing or does not fit the stored "
        "vectors. An administrator finds the reason in the log of the api service.",
    )


def not_found(what: str) -> ApiError:
    """What a caller may not see answers like what does not exist."""
    return ApiError(404, "not_found", f"There is no such {what}, or it is not yours to see.")
