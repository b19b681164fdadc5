"""Settings of api and ingest: the only reader of the environment in this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from rag_api.secret import Secret, read_secret

DEFAULT_UPLOAD_BYTES = 50 * 1024 * 1024


class SettingsError(ValueError):
    """An environment variable is missing or wrong; the message names it and says what is expected."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the service is told from outside; secrets redact themselves."""

    postgres_url: str
    postgres_password: Secret
    redis_url: str
    redis_password: Secret
    vectordb_url: str
    ollama_url: str
    documents_dir: Path
    index_dir: Path
    internal_token: Secret
    admin_email: str
    admin_password: Secret
    chat_model: str
    embed_model: str
    max_upload_bytes: int
    environment: str
    log_level: str

    @property
    def incoming_dir(self) -> Path:
        """Where uploads are written before their rename into the tree: same filesystem, but not backed up."""
        return self.documents_dir.parent / "incoming"

    def postgres_conninfo(self) -> str:
        """The database's URL with its password; never log it."""
        parts = urlsplit(self.postgres_url)
        login = f"{parts.username or 'rag'}:{quote(self.postgres_password.reveal(), safe='')}"
        return f"postgresql://{login}@{parts.hostname}:{parts.port or 5432}{parts.path}"


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: a variable is missing or not what it should be.
        WeakSecretError: a secret is missing, short or a placeholder.
    """
    return Settings(
        postgres_url=_required(environ, "POSTGRES_URL"),
        postgres_password=read_secret("POSTGRES_PASSWORD_FILE", environ.get("POSTGRES_PASSWORD_FILE")),
        redis_url=_required(environ, "REDIS_URL"),
        redis_password=read_secret("REDIS_PASSWORD_FILE", environ.get("REDIS_PASSWORD_FILE")),
        vectordb_url=_required(environ, "VECTORDB_URL").rstrip("/"),
        ollama_url=_required(environ, "OLLAMA_URL").rstrip("/"),
        documents_dir=Path(_required(environ, "DOCUMENTS_DIR")),
        index_dir=Path(_required(environ, "INDEX_DIR")),
        internal_token=read_secret("INTERNAL_TOKEN_FILE", environ.get("INTERNAL_TOKEN_FILE")),
        admin_email=_required(environ, "ADMIN_EMAIL").strip().lower(),
        admin_password=read_secret("ADMIN_PASSWORD_FILE", environ.get("ADMIN_PASSWORD_FILE")),
        chat_model=environ.get("CHAT_MODEL", "smollm2:135m"),
        embed_model=environ.get("EMBED_MODEL", "all-minilm"),
        max_upload_bytes=_positive(environ, "MAX_UPLOAD_BYTES", DEFAULT_UPLOAD_BYTES),
        environment=environ.get("ENVIRONMENT", "production"),
        log_level=environ.get("LOG_LEVEL", "INFO").upper(),
    )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set; compose/stack.yaml shows what it should be")
    return value


def _positive(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit() or int(text) == 0:
        raise SettingsError(f"{name} is {text!r}; expected a whole number of bytes above 0")
    return int(text)
