"""What can go wrong, each with the HTTP status that says so.

ModelServerError
├── BadRequestError        400  the request cannot be served as it is
│   └── PromptTooLongError 400  more prompt tokens than the context holds
├── ModelNotFoundError     404  no such model in the store or among the packages
├── StoreDamagedError      500  a blob or manifest is missing or does not have its checksum
├── RunnerFailedError      500  the process of a loaded model failed
└── ServerBusyError        503  the queue of a model is full
"""

from __future__ import annotations


class ModelServerError(Exception):
    """Base of all errors that a client is told; `str()` is the sentence for the client."""

    status = 500


class BadRequestError(ModelServerError):
    status = 400


class PromptTooLongError(BadRequestError):
    """The prompt has `tokens` tokens, the context holds `limit`."""

    def __init__(self, tokens: int, limit: int) -> None:
        self.tokens = tokens
        self.limit = limit
        super().__init__(
            f"the prompt has {tokens} tokens but the context holds {limit}; shorten it or raise options.num_ctx"
        )


class ModelNotFoundError(ModelServerError):
    status = 404


class StoreDamagedError(ModelServerError):
    status = 500


class RunnerFailedError(ModelServerError):
    status = 500


class ServerBusyError(ModelServerError):
    status = 503
