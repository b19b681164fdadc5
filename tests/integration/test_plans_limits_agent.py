"""Limits of a plan in the real agent: restic is bounded and stands back, the freeze does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import servers
from tests.support.sample_stack import SampleStack, program, run_agent, sample_stack, started

pytestmark = pytest.mark.integration

LIMITS = {"upload_kib": 50_000, "download_kib": 60_000, "nice": 12, "processors": 2}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres_server: servers.Postgres) -> Iterator[SampleStack]:
    with sample_stack(tmp_path_factory.mktemp("limits"), postgres_server) as made:
        yield made


def niceness(pid: int) -> int:
    """Of the main thread of a process, as the kernel tells it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])


def test_restic_is_bounded_and_stands_back(stack: SampleStack, tmp_path: Path) -> None:
    log, mine = tmp_path / "restic.log", os.nice(0)
    restic = program(tmp_path / "restic", f'echo "$(nice) $GOMAXPROCS $*" >> {log}\nexec {servers.RESTIC} "$@"')
    ended = run_agent(stack.job_with(tools={"restic": restic}, limits=LIMITS))
    assert ended.last["state"] == "complete", ended
    (stored,) = [line.split() for line in log.read_text().splitlines() if " backup " in line]
    assert stored[:2] == [str(max(mine, 12)), "2"]
    assert stored[2:6] == ["--limit-upload", "50000", "--limit-download", "60000"]


def test_the_freeze_does_not_stand_back(stack: SampleStack) -> None:
    reached = stack.arm("freeze")
    with started({**stack.job(), "limits": {"nice": 19, "io_idle": True}}) as agent:
        servers.wait_until(reached.exists, what="the freeze")
        assert niceness(agent.pid) == os.nice(0)
        agent.kill()


def test_a_limit_that_is_none_is_named(stack: SampleStack) -> None:
    ended = run_agent({**stack.job(), "limits": {"nice": 99}})
    assert (ended.status, ended.last["code"]) == (1, "job_invalid")
    assert "job.limits.nice: expected a whole number from 0 to 19, got 99" in ended.last["message"]
