"""The way from a bare machine to the command line, as far as it can be tested without a bare machine."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backups import process
from config import apt, environment, privileges, tools
from config.setup_errors import SetupError
from config.verbs import VERBS, overview

ROOT = Path(__file__).resolve().parents[2]


def manage(*words: str, **extra: str) -> process.Completed:
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **extra}
    return process.run([sys.executable, ROOT / "manage.py", *words], env=env, check=False)


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], Path]:
    """Make an executable that prints `text`."""

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{text}'\n")
        path.chmod(0o755)
        return path

    return make


def test_help_names_every_verb_and_prepares_nothing(tmp_path: Path) -> None:
    told = manage("--help", RAGKEEP_VAR=str(tmp_path / "state"))
    assert told.returncode == 0
    assert all(f"\n  {name} " in told.stdout for name in VERBS)
    assert not (tmp_path / "state").exists()


def test_no_verb_at_all_is_help_too() -> None:
    assert manage().stdout.strip() == overview()


@pytest.mark.parametrize(
    ("version", "usable"), [("restic 0.16.5", False), ("restic 0.17.0", True), ("restic 1.0.1", True), ("", False)]
)
def test_restic_before_0_17_is_refused(program: Callable[[str, str], Path], version: str, usable: bool) -> None:
    assert tools.restic_is_usable(program("restic", version)) is usable


def test_a_missing_tool_is_not_usable(tmp_path: Path) -> None:
    assert not tools.restic_is_usable(tmp_path / "restic")
    assert not tools.nginx_is_usable(tmp_path / "nginx")


def test_tools_on_the_path_are_linked_and_not_fetched(
    tmp_path: Path, program: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program("restic", "restic 0.18.1"), program("nginx", "nginx/1.26.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(apt, "available", lambda: pytest.fail("asked the mirror for what is on PATH"))
    tools.ensure(tmp_path / "var")
    assert (tmp_path / "var/tools/bin/restic").resolve() == tmp_path / "restic"
    assert (tmp_path / "var/tools/bin/nginx").resolve() == tmp_path / "nginx"


def test_a_machine_without_restic_gets_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_on_path", lambda _name: [])
    monkeypatch.setattr(apt, "available", lambda: False)
    with pytest.raises(SetupError, match=r"restic 0\.17 or later is needed[\s\S]*Install a release of restic"):
        tools.ensure(tmp_path)


DEB822 = """Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
"""


def test_the_mirror_is_read_from_both_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "own_suite", lambda: "bookworm")
    expected = apt.Mirror("http://mirror.example/debian", "bookworm", "/usr/share/keyrings/archive.gpg")
    line = (
        "# old\ndeb [arch=amd64 signed-by=/usr/share/keyrings/archive.gpg] http://mirror.example/debian bookworm main\n"
    )
    assert apt._from_deb822(DEB822) == expected
    assert apt._from_one_line(line) == expected
    assert apt._from_one_line("deb http://mirror.example/debian trixie main\n") is None


def a_checkout(folder: Path) -> Path:
    (folder / "requirements").mkdir(parents=True)
    for name in ("runtime.txt", "models.txt", "dev.txt"):
        (folder / "requirements" / name).write_text(f"{name}\n")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    return folder


def stamp(root: Path, *names: str) -> None:
    digests = {n: hashlib.sha256((root / "requirements" / n).read_bytes()).hexdigest() for n in names}
    (root / ".venv" / environment.STAMP).write_text(json.dumps(digests))


def test_an_environment_is_current_only_for_the_locks_it_was_made_from(tmp_path: Path) -> None:
    root = a_checkout(tmp_path)
    venv = root / ".venv"
    assert not environment._is_current(venv, root, environment.RUNTIME)
    stamp(root, *environment.RUNTIME)
    assert environment._is_current(venv, root, environment.RUNTIME)
    assert not environment._is_current(venv, root, (*environment.RUNTIME, *environment.DEVELOPMENT))
    (root / "requirements" / "runtime.txt").write_text("changed\n")
    assert not environment._is_current(venv, root, environment.RUNTIME)


def test_an_interrupted_installation_starts_over(tmp_path: Path) -> None:
    root = a_checkout(tmp_path)
    stamp(root, *environment.RUNTIME)
    (root / ".venv" / environment.UNFINISHED).touch()
    assert not environment._is_current(root / ".venv", root, environment.RUNTIME)
    environment._remove_unfinished(root / ".venv")
    assert not (root / ".venv").exists()


def test_without_any_pip_there_is_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "find_spec", lambda _name: None)
    monkeypatch.setattr(environment, "_debian_pip", lambda _var: None)
    with pytest.raises(SetupError, match=r"has no pip[\s\S]*python3-venv"):
        environment._pip(tmp_path)


def test_the_site_s_index_reaches_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    assert environment._uv_environment(tmp_path)["UV_DEFAULT_INDEX"] == "https://index.example/simple"


def test_an_ordinary_user_needs_no_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert privileges.drop_prefix(ROOT, tmp_path, Path(sys.executable)) == []


def test_root_gets_the_first_account_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = [privileges.Way("nobody", ["refused"], 65534), privileges.Way("namespace", ["unshare"], 0)]
    chowned: list[int] = []
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda _path, owner, _group, **_: chowned.append(owner))
    monkeypatch.setattr(privileges, "_candidates", lambda: ways)
    monkeypatch.setattr(privileges, "_works", lambda prefix, *_: prefix == ["unshare"])
    assert privileges.drop_prefix(ROOT, tmp_path, Path(sys.executable)) == ["unshare"]
    assert set(chowned) == {0}

    # Later the other way would work too: what runs must not lose its files.
    chowned.clear()
    monkeypatch.setattr(privileges, "_works", lambda *_: True)
    assert privileges.drop_prefix(ROOT, tmp_path, Path(sys.executable)) == ["unshare"]
    assert chowned == []


def test_root_without_any_way_down_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(privileges, "_candidates", list)
    with pytest.raises(SetupError, match=r"does not run its servers as root[\s\S]*adduser"):
        privileges.drop_prefix(ROOT, tmp_path, Path(sys.executable))


def test_a_misspelt_verb_gets_a_suggestion() -> None:
    told = process.run(
        [sys.executable, "-m", "config.cli.main", "backpu"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "config.settings.check"},
        check=False,
    )
    assert told.returncode == 2
    assert "Did you mean 'backup'?" in told.stderr
