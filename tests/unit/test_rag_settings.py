"""The service refuses to start on missing or placeholder secrets, and shows none."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from rag_api.secret import Secret, WeakSecretError, read_secret
from rag_api.settings import SettingsError, load_settings

GOOD = "f4Zq-81kLw_02yTb"


def environment(folder: Path, **changes: str) -> dict[str, str]:
    secret = folder / "secret"
    secret.write_text(GOOD + "\n")
    files = {f"{name}_FILE": str(secret) for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "ADMIN_PASSWORD")}
    plain = {
        "POSTGRES_URL": "postgresql://rag@postgres:5432/rag",
        "REDIS_URL": "redis://redis:6379/0",
        "VECTORDB_URL": "http://vectordb:8000/",
        "OLLAMA_URL": "http://ollama:11434",
        "DOCUMENTS_DIR": "/data/documents/live",
        "INDEX_DIR": "/data/index/live",
        "INTERNAL_TOKEN_FILE": str(secret),
        "ADMIN_EMAIL": "Admin@Example.org",
    }
    return {**plain, **files, **changes}


def test_settings_are_read(tmp_path: Path) -> None:
    settings = load_settings(environment(tmp_path))
    assert settings.admin_email == "admin@example.org"
    assert settings.max_upload_bytes == 50 * 1024 * 1024
    assert settings.incoming_dir == Path("/data/documents/incoming")
    assert GOOD not in repr(settings)


def test_password_is_quoted_into_the_url(tmp_path: Path) -> None:
    (tmp_path / "odd").write_text("p@ss/wörd:#?+%20")
    settings = load_settings(environment(tmp_path, POSTGRES_PASSWORD_FILE=str(tmp_path / "odd")))
    assert settings.postgres_conninfo() == ("postgresql://rag:p%40ss%2Fw%C3%B6rd%3A%23%3F%2B%2520@postgres:5432/rag")


@pytest.mark.parametrize("name", ["POSTGRES_URL", "REDIS_URL", "DOCUMENTS_DIR", "ADMIN_EMAIL"])
def test_missing_setting_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings(environment(tmp_path, **{name: ""}))


@pytest.mark.parametrize("value", ["0", "-1", "much"])
def test_limit_must_be_a_number(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="MAX_UPLOAD_BYTES"):
        load_settings(environment(tmp_path, MAX_UPLOAD_BYTES=value))


@pytest.mark.parametrize(
    "value", ["", "sh0rt", "changeme-changeme", "CHANGE_ME_PLEASE", "password1234", "aaaaaaaaaaaaaaa"]
)
def test_weak_secret_is_refused_without_showing_it(tmp_path: Path, value: str) -> None:
    (tmp_path / "weak").write_text(value)
    with pytest.raises(WeakSecretError, match="ADMIN_PASSWORD_FILE") as refusal:
        read_secret("ADMIN_PASSWORD_FILE", str(tmp_path / "weak"))
    assert not value or value not in str(refusal.value)


@pytest.mark.parametrize("path", [None, "", "/nonexistent/secret"])
def test_missing_secret_is_refused(path: str | None) -> None:
    with pytest.raises(WeakSecretError, match="X_FILE"):
        read_secret("X_FILE", path)


def test_secret_shows_itself_to_nobody() -> None:
    secret = Secret(GOOD)
    assert {str(secret), repr(secret), f"{secret}", pickle.loads(pickle.dumps(secret)).reveal()} == {"***"}  # noqa: S301
    assert secret.reveal() == GOOD
