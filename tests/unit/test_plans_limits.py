"""What a job may take of the machine: command lines, environment, and a thread that stands back alone."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from backups.errors import JobInvalid
from backups.fields import Fields
from backups.limits import Limits, idle_argv, in_background, limited_argv, lowered, restic_environment
from backups.process import run
from backups.restic import stats_argv


def test_bandwidth_stands_before_the_command() -> None:
    limits = Limits(upload_kib=500, download_kib=2000, processors=3)
    argv = limited_argv(stats_argv(Path("/bin/restic")), limits)
    assert argv[:5] == ("/bin/restic", "--limit-upload", "500", "--limit-download", "2000")
    assert argv[5:] == stats_argv(Path("/bin/restic"))[1:]
    assert restic_environment(limits) == {"GOMAXPROCS": "3"}
    assert idle_argv(42) == ("ionice", "-c", "3", "-p", "42")


def test_without_limits_nothing_changes() -> None:
    argv = stats_argv(Path("/bin/restic"))
    assert limited_argv(argv, Limits()) == argv
    assert restic_environment(Limits()) == {}
    assert Limits().as_dict() == {}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"nice": 20}, "limits.nice: expected a whole number from 0 to 19, got 20"),
        ({"nice": -5}, "limits.nice: expected a whole number from 0 to 19, got -5"),
        ({"upload_kib": "fast"}, "limits.upload_kib: expected a whole number, got 'fast'"),
        ({"io_idle": 1}, "limits.io_idle: expected true or false, got 1"),
        ({"niceness": 5}, "limits.niceness: there is no such value; known are upload_kib, download_kib, nice"),
    ],
)
def test_what_is_no_limit_is_named_by_its_path(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(JobInvalid) as raised:
        Limits.read(Fields(values, "limits"))
    assert raised.value.message.startswith(sentence)


def test_only_the_work_stands_back_with_what_it_starts() -> None:
    before, said = os.getpriority(os.PRIO_PROCESS, 0), list[str]()

    def work() -> tuple[int, str]:
        # The kernel's own account of the thread and of a process that it starts.
        return os.getpriority(os.PRIO_PROCESS, 0), run(["nice"]).stdout.strip()

    assert lowered(Limits(nice=15), said.append, work) == (15, "15")
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert said == []


@pytest.mark.skipif(shutil.which("ionice") is None, reason="no ionice on this machine")
def test_the_idle_class_of_disks_is_for_the_work_alone() -> None:
    def work() -> str:
        return run(["ionice", "-p", str(threading.get_native_id())]).stdout.strip()

    assert lowered(Limits(io_idle=True), lambda said: pytest.fail(said), work) == "idle"
    assert work() != "idle"


def test_a_machine_without_ionice_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said: list[str] = []
    assert lowered(Limits(io_idle=True), said.append, lambda: 7) == 7
    assert "ionice" in said[0]


@pytest.mark.parametrize(("given", "nice"), [(0, 10), (5, 10), (10, 10), (15, 15)])
def test_what_nobody_waits_for_stands_back_at_least_a_little(given: int, nice: int) -> None:
    assert in_background(Limits(upload_kib=7, nice=given)) == Limits(upload_kib=7, nice=nice)
