"""Requests as Ollama's clients send them. Unknown fields and options are ignored, as Ollama does."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, Field

KeepAlive = str | float | None
Format = dict[str, Any] | Literal["json", ""] | None


class Options(BaseModel):
    """Sampling options with Ollama's defaults; `num_predict` -1 and -2 mean: until the context is full."""

    num_ctx: int | None = Field(default=None, ge=16, le=1_048_576)
    num_predict: int = Field(default=-1, ge=-2)
    num_keep: int = 0
    seed: int = -1
    temperature: float = Field(default=0.8, ge=0)
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: list[str] | str | None = None


class ModelRequest(BaseModel):
    """A request about one model; older clients say `name`."""

    model: str = Field(validation_alias=AliasChoices("model", "name"))


class PullRequest(ModelRequest):
    stream: bool = True


class ShowRequest(ModelRequest):
    verbose: bool = False


class CopyRequest(BaseModel):
    source: str
    destination: str


class Message(BaseModel):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    images: list[str] | None = None


class _Generation(BaseModel):
    model: str
    stream: bool = True
    format: Format = None
    options: Options = Field(default_factory=Options)
    keep_alive: KeepAlive = None
    think: bool | str | None = None


class ChatRequest(_Generation):
    messages: list[Message] = Field(default_factory=list)
    tools: list[dict[str, Any]] | None = None


class GenerateRequest(_Generation):
    prompt: str = ""
    system: str = ""
    raw: bool = False
    suffix: str = ""
    template: str = ""
    images: list[str] | None = None


class EmbedRequest(BaseModel):
    model: str
    input: str | list[str] = Field(default_factory=list)
    truncate: bool = True
    dimensions: int | None = Field(default=None, ge=0)
    keep_alive: KeepAlive = None


class EmbeddingsRequest(BaseModel):
    """The older endpoint: one prompt, one vector."""

    model: str
    prompt: str = ""
    keep_alive: KeepAlive = None
