"""What `manage.py test` decides to run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from backups import process
from config import loopback, tiers
from config.cli import test as verb


def test_chromium_is_taken_from_its_variable_only_when_it_can_run(tmp_path: Path) -> None:
    browser = tmp_path / "chromium"
    assert tiers.chromium({"CHROMIUM": str(browser), "PATH": ""}) is None
    browser.touch(mode=0o755)
    assert tiers.chromium({"CHROMIUM": str(browser), "PATH": ""}) == str(browser)


def test_servers_tier_names_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "tools" / "bin"
    folder.mkdir(parents=True)
    (folder / "restic").touch()
    reason = tiers.TIERS[1].missing({"RAGKEEP_VAR": str(tmp_path)})
    assert reason is not None
    assert reason.startswith("nginx not found")
    (folder / "nginx").touch()
    assert tiers.TIERS[1].missing({"RAGKEEP_VAR": str(tmp_path)}) is None


@pytest.fixture
def missing_browser(monkeypatch: pytest.MonkeyPatch) -> list[list[tiers.Tier]]:
    lacking = tiers.Tier("browser", ("tests/e2e",), lambda _environ: "no Chromium found")
    monkeypatch.setattr(verb, "TIERS", (tiers.TIERS[0], lacking))
    ran: list[list[tiers.Tier]] = []

    def record(chosen: list[tiers.Tier], _arguments: tuple[str, ...], _jobs: int | None) -> int:
        ran.append(chosen)
        return 0

    monkeypatch.setattr(verb, "_pytest", record)
    return ran


def test_a_missing_tier_is_said_and_left_out(
    missing_browser: list[list[tiers.Tier]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    told = CliRunner().invoke(verb.command, [])
    assert told.exit_code == 0
    assert "tier browser: left out, no Chromium found" in told.output
    assert [tier.name for tier in missing_browser[0]] == ["unit"]


def test_in_ci_a_missing_tier_is_a_failure(
    missing_browser: list[list[tiers.Tier]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    told = CliRunner().invoke(verb.command, [])
    assert told.exit_code == 1
    assert "CI must run every tier; missing here: browser" in told.output
    assert missing_browser == []


def test_tests_that_lack_a_program_are_named_and_in_ci_a_failure(
    missing_browser: list[list[tiers.Tier]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(verb, "TIERS", tiers.TIERS[:1])
    monkeypatch.setattr(verb, "PARTS", (tiers.Part("unit", "nothing much", lambda _environ: "no such program"),))
    monkeypatch.delenv("CI", raising=False)
    told = CliRunner().invoke(verb.command, [])
    assert (told.exit_code, len(missing_browser)) == (0, 1)
    assert "tests of nothing much: left out, no such program" in told.output
    monkeypatch.setenv("CI", "true")
    assert "missing here: nothing much" in CliRunner().invoke(verb.command, []).output
    assert len(missing_browser) == 1


def test_sshd_is_found_where_it_lies_and_missed_where_it_does_not(tmp_path: Path) -> None:
    (part,) = tiers.PARTS
    for name in ("sshd", "sftp"):
        (tmp_path / name).touch(mode=0o755)
    assert tiers.sshd({"PATH": str(tmp_path)}) == str(tmp_path / "sshd")
    assert part.missing({"PATH": str(tmp_path)}) is None
    (tmp_path / "sftp").unlink()
    assert part.missing({"PATH": str(tmp_path)}) == "no sshd and sftp found: apt-get install openssh-server"


TOGETHER, BY_FILE = ("--numprocesses",), ("--dist", "loadfile")


@pytest.mark.parametrize(
    ("names", "words", "jobs", "ran"),
    [
        (["unit", "docker"], (), 1, [(["tests/docker"], True), (["tests/unit"], False)]),
        (
            ["unit", "docker"],
            (),
            3,
            [
                ([*TOGETHER, "3", *BY_FILE, "tests/docker"], True),
                ([*TOGETHER, "3", *BY_FILE, "tests/unit"], False),
            ],
        ),
        (["unit"], ("-k", "x"), 1, [(["tests/unit"], False)]),
        (["unit", "docker"], ("tests/docker/test_images.py",), None, [([], True)]),
        (["unit", "docker"], ("tests/unit",), None, [([], False)]),
        (["unit", "docker"], ("tests/unit",), 2, [([*TOGETHER, "2", *BY_FILE], False)]),
    ],
)
def test_only_the_tier_of_docker_keeps_the_rights_of_root(
    names: list[str], words: tuple[str, ...], jobs: int | None, ran: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def run(paths: list[str], _arguments: tuple[str, ...], *, as_caller: bool) -> int:
        seen.append((paths, as_caller))
        return 0

    monkeypatch.setattr(verb, "_run", run)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert verb._pytest([tier for tier in tiers.TIERS if tier.name in names], words, jobs) == 0
    assert seen == ran


@pytest.mark.parametrize(("codes", "status"), [((0, 0), 0), ((1, 0), 1), ((0, 1), 1), ((5, 5), 5)])
def test_root_runs_the_tier_of_docker_beside_the_others_which_see_nothing_of_its_networks(
    codes: tuple[int, int], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[object] = []

    def run(words: list[str], _arguments: tuple[str, ...], **how: bool) -> int:
        seen.append((words, how))
        return codes[0]

    def captured(words: list[str], _arguments: tuple[str, ...]) -> process.Completed:
        seen.append(words)
        return process.Completed("pytest", codes[1], "said in the end", "")

    monkeypatch.setattr(verb, "_run", run)
    monkeypatch.setattr(verb, "_captured", captured)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    chosen = [tier for tier in tiers.TIERS if tier.name in ("unit", "docker")]
    assert verb._pytest(chosen, (), 2) == status
    assert [*TOGETHER, "2", *BY_FILE, "tests/docker"] in seen
    assert ([*TOGETHER, "2", *BY_FILE, "tests/unit"], {"as_caller": False, "isolated": True}) in seen
    assert capsys.readouterr().out.strip() == "said in the end"


def test_a_program_in_a_network_of_its_own_has_loopback_and_no_way_out() -> None:
    code = (
        "import pathlib, socket; server = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(server.getsockname());"
        "print([line.split(':')[0].strip() for line in pathlib.Path('/proc/net/dev').read_text().splitlines()[2:]])"
    )
    # Who is no root needs a user namespace around it.
    around = ["unshare", "--user", "--map-root-user"] if os.geteuid() else []
    told = process.run([*around, *loopback.command([sys.executable, "-c", code])], check=False)
    if around and told.returncode:
        pytest.skip("no user namespaces on this machine")
    assert told.stdout.strip() == "['lo']"


@pytest.mark.parametrize(
    ("processors", "jobs"), [(1, []), (2, [*TOGETHER, "2", *BY_FILE]), (64, [*TOGETHER, "4", *BY_FILE])]
)
def test_as_many_files_run_at_once_as_there_are_processors_to_a_limit(
    processors: int, jobs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(os, "cpu_count", lambda: processors)

    def run(words: list[str], _arguments: tuple[str, ...], *, as_caller: bool) -> int:
        seen.append(words)
        return 0

    monkeypatch.setattr(verb, "_run", run)
    assert verb._pytest([tiers.TIERS[0]], (), None) == 0
    assert seen == [[*jobs, "tests/unit"]]


@pytest.mark.parametrize(("codes", "status"), [((0, 0), 0), ((5, 0), 0), ((1, 0), 1), ((0, 2), 2), ((5, 5), 5)])
def test_the_worst_status_counts_and_a_selection_may_leave_one_part_empty(
    codes: tuple[int, int], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "_run", lambda _paths, _arguments, *, as_caller: codes[as_caller])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert verb._pytest([tiers.TIERS[0], tiers.TIERS[-1]], (), None) == status
