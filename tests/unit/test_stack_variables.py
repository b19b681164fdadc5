"""Settings of a stack: found in its file, judged one by one, shown without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from portal.stacks.variables import HIDDEN, Variable, masked, replaced, variables, wrong

STACK = yaml.safe_load((Path(__file__).resolve().parents[2] / "compose" / "stack.yaml").read_text())


def names(*, containers: bool) -> set[str]:
    return {found.name for found in variables(STACK, containers=containers)}


def test_what_the_stack_takes_is_read_from_its_file() -> None:
    found = {one.name: one for one in variables(STACK, containers=False)}
    chosen = {"OLLAMA_URL", "CHAT_MODEL", "EMBED_MODEL", "PULLABLE_MODELS", "MAX_UPLOAD_BYTES", "LOG_LEVEL"}
    assert set(found) == {*chosen, "ENVIRONMENT"}
    assert found["LOG_LEVEL"].default == "INFO"
    assert {"api", "ingest"} <= set(found["LOG_LEVEL"].services)
    assert "nginx" in found["MAX_UPLOAD_BYTES"].services


def test_containers_take_more() -> None:
    more = names(containers=True) - names(containers=False)
    assert {"POSTGRES_IMAGE", "OLLAMA_CPUS"} <= more
    assert not more & {"RAGKEEP_SECRETS", "RAGKEEP_PORT", "RAGKEEP_PORTAL_ORIGIN", "ADMIN_EMAIL"}


def test_every_setting_of_the_stack_says_what_it_is() -> None:
    assert [one.name for one in variables(STACK, containers=False) if not one.hint] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OLLAMA_URL", "http://user:p$$w@host:11434"),
        ("CHAT_MODEL", "hf.co/bartowski/Llama-3.2-3B:Q4_K_M"),
        ("PULLABLE_MODELS", "llama3:* mistral"),
        ("MAX_UPLOAD_BYTES", "1024"),
        ("ENVIRONMENT", "staging-2"),
        ("POSTGRES_IMAGE", "registry.local:5000/postgres:18.4@sha256:" + "0" * 64),
        ("OLLAMA_CPUS", "1.5"),
        ("OLLAMA_MEMORY", "8g"),
        ("UNKNOWN", "anything ${goes} 'as' \"it\" is \\"),
        ("LOG_LEVEL", ""),
    ],
)
def test_what_may_be(name: str, value: str) -> None:
    assert wrong(name, value) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OLLAMA_URL", "ollama:11434"),
        ("OLLAMA_URL", "http://[::1"),
        ("OLLAMA_URL", "http://h:99999"),
        ("CHAT_MODEL", "two words"),
        ("PULLABLE_MODELS", "fine ;rm"),
        ("MAX_UPLOAD_BYTES", "1023"),
        ("MAX_UPLOAD_BYTES", "-1"),
        ("MAX_UPLOAD_BYTES", "\u0661\u0662\u0663\u0664\u0665"),
        ("ENVIRONMENT", "Prod"),
        ("LOG_LEVEL", "info"),
        ("POSTGRES_IMAGE", "postgres"),
        ("POSTGRES_IMAGE", "postgres:latest"),
        ("POSTGRES_IMAGE", "-v /:/host"),
        ("OLLAMA_CPUS", "0"),
        ("OLLAMA_MEMORY", "much"),
        ("UNKNOWN", "two\nlines"),
        ("UNKNOWN", "x" * 2001),
    ],
)
def test_what_may_not_be_says_why(name: str, value: str) -> None:
    assert wrong(name, value).endswith(".")


def test_secrets_are_not_shown() -> None:
    assert masked(Variable("SMTP_PASSWORD", "", ()), "hunter2") == HIDDEN
    assert masked(Variable("OLLAMA_URL", "", ()), "http://me:hunter2@host") == f"http://me:{HIDDEN}@host"
    assert masked(Variable("SMTP_PASSWORD", "", ()), "") == ""


def test_who_is_replaced() -> None:
    found = [Variable("A", "", ("api", "ingest")), Variable("B", "", ("nginx",)), Variable("C", "", ("api",))]
    assert replaced(found, ["A", "C"]) == ["api", "ingest"]
