"""Promises about the source as a whole that no linter holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from backups import freeze
from rag_api import db

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "backups", "portal", "rag_api", "frontend")
FUNCTION_LINES = 60
FILE_LINES = 400


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_processes_start_in_one_module_only() -> None:
    offenders = [
        str(path.relative_to(ROOT))
        for path in sources(*PACKAGES, "tests")
        if "subprocess" in imports(ast.parse(path.read_text())) and path != ROOT / "backups" / "process.py"
    ]
    assert offenders == []


def test_only_one_module_of_django_reads_the_environment() -> None:
    offenders = [
        str(path.relative_to(ROOT))
        for path in sources("config/settings", "portal")
        if "runtime" not in path.parts and re.search(r"os\.(environ|getenv)", path.read_text())
    ]
    assert offenders == []


@pytest.mark.parametrize("package", PACKAGES)
def test_files_and_functions_stay_small(package: str) -> None:
    long = []
    for path in sources(package):
        text = path.read_text()
        if len(text.splitlines()) > FILE_LINES:
            long.append(f"{path.relative_to(ROOT)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert long == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path.name for path in sources(*PACKAGES) if path.stem in {"utils", "helpers", "manager", "common"}] == []


def test_locks_name_no_host_and_hash_everything() -> None:
    for lock in ("runtime.txt", "models.txt", "dev.txt", "bootstrap.txt"):
        text = (ROOT / "requirements" / lock).read_text()
        assert "://" not in text, lock
        pins = re.findall(r"(?m)^[a-z0-9][^ ]*==", text)
        assert pins, lock
        assert len(re.findall(r"--hash=sha256:", text)) >= len(pins), lock


def test_the_gates_are_the_same_for_the_service_and_the_agent() -> None:
    """The two packages may not import each other, so only a test can hold them together."""
    service = (db.LOCK_CLASS, db.WRITE_GATE, db.REMOVAL_GATE)
    agent = (freeze.GATE_CLASS, freeze.WRITE_GATE, freeze.REMOVAL_GATE)
    assert service == agent
