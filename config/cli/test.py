"""`manage.py test`: every tier this machine can run, and a word about each that it cannot."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from backups import process
from config import loopback
from config.bootstrap import child_environment
from config.privileges import drop_prefix
from config.tiers import PARTS, TIERS, Tier

# pytest's status when a selection leaves nothing.
NO_TESTS = 5
# Every one of them may start a whole product, which takes 1 GB.
MOST_JOBS = 4
# On fewer processors tests of containers and the others make each other fail for want of time.
PROCESSORS_FOR_BOTH = 4


@click.command("test", context_settings={"ignore_unknown_options": True})
@click.option(
    "--tier", "names", multiple=True, type=click.Choice([tier.name for tier in TIERS]), help="Only this tier."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 16),
    help="So many test files at once. [as many as there are processors, at most 4; 1 for tests given by name]",
)
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def command(names: tuple[str, ...], jobs: int | None, pytest_arguments: tuple[str, ...]) -> None:
    """Run the tests that this machine can run and say which tiers are left out and why.

    With CI=true in the environment a tier that cannot run is a failure. What follows -- goes to pytest.
    """
    wanted = [tier for tier in TIERS if not names or tier.name in names]
    reasons = {tier.name: tier.missing(os.environ) for tier in wanted}
    for name, reason in reasons.items():
        click.echo(f"tier {name}: {'runs' if reason is None else f'left out, {reason}'}", err=True)
    left_out = [name for name, reason in reasons.items() if reason is not None]
    left_out += _parts_left_out([name for name, reason in reasons.items() if reason is None])
    if left_out and os.environ.get("CI") == "true":
        raise click.ClickException(f"CI must run every tier; missing here: {', '.join(left_out)}")
    chosen = [tier for tier in wanted if reasons[tier.name] is None]
    if not chosen:
        raise click.ClickException("no tier is left to run")
    sys.exit(_pytest(chosen, pytest_arguments, jobs))


def _parts_left_out(tiers: list[str]) -> list[str]:
    """Say which tests within these tiers are skipped for lack of a program; returns their names."""
    lacking = [(part.tests, reason) for part in PARTS if part.tier in tiers and (reason := part.missing(os.environ))]
    for tests, reason in lacking:
        click.echo(f"tests of {tests}: left out, {reason}", err=True)
    return [tests for tests, _ in lacking]


def _pytest(tiers: list[Tier], arguments: tuple[str, ...], jobs: int | None) -> int:
    """Run these tiers: those that root keeps its rights for, and the others; returns the worst exit status."""
    # A test named by the caller replaces the folders of the tiers; options alone do not.
    if any("tests/" in word for word in arguments):
        privileged = any(_is_privileged(word) for word in arguments)
        codes = [_run(_side_by_side(jobs or 1), arguments, as_caller=privileged)]
    else:
        together = _side_by_side(jobs or min(os.cpu_count() or 1, MOST_JOBS))
        groups = [(kind, [*together, *_paths(tiers, as_caller=kind)]) for kind in (True, False)]
        chosen = [(kind, words) for kind, words in groups if words != together]
        enough = (os.cpu_count() or 1) >= PROCESSORS_FOR_BOTH
        if len(chosen) > 1 and together and enough and os.geteuid() == 0:
            codes = _both(chosen[0][1], chosen[1][1], arguments)
        else:
            codes = [_run(words, arguments, as_caller=kind) for kind, words in chosen]
    return max((code for code in codes if code != NO_TESTS), default=NO_TESTS)


def _both(privileged: list[str], others: list[str], arguments: tuple[str, ...]) -> list[int]:
    """Run both kinds at the same time: containers mostly wait. What the former write is shown when all is over."""
    click.echo("the tier docker runs beside the others; what it writes follows at the end", err=True)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(_captured, privileged, arguments)
        code = _run(others, arguments, as_caller=False, isolated=True)
        done = beside.result()
    click.echo(done.stdout)
    click.echo(done.stderr, err=True)
    return [done.returncode, code]


def _paths(tiers: list[Tier], *, as_caller: bool) -> list[str]:
    return [path for tier in tiers if tier.as_caller is as_caller for path in tier.paths]


def _side_by_side(jobs: int) -> list[str]:
    """The options that have pytest run whole files side by side: tests of one file may share servers."""
    return [] if jobs == 1 else ["--numprocesses", str(jobs), "--dist", "loadfile"]


def _is_privileged(word: str) -> bool:
    return any(path in word for tier in TIERS if tier.as_caller for path in tier.paths)


def _run(words: list[str], arguments: tuple[str, ...], *, as_caller: bool, isolated: bool = False) -> int:
    root, var = _places()
    if as_caller:
        return process.call(_privileged(words, arguments), cwd=root)
    prefix = drop_prefix(root, var, Path(sys.executable))
    argv = [*prefix, sys.executable, "-m", "pytest", *words, *arguments]
    argv = loopback.command(argv) if isolated else argv
    return process.call(argv, env=child_environment(var, dropped=bool(prefix)), cwd=root)


def _captured(words: list[str], arguments: tuple[str, ...]) -> process.Completed:
    root, _ = _places()
    return process.run(_privileged(words, arguments), cwd=root, check=False)


def _privileged(words: list[str], arguments: tuple[str, ...]) -> list[str]:
    _, var = _places()
    # What root writes into the shared cache nobody else could change.
    cache = f"cache_dir={var / 'cache' / 'pytest-caller'}"
    return [sys.executable, "-m", "pytest", *words, *arguments, "-o", cache]


def _places() -> tuple[Path, Path]:
    """The checkout and its state folder."""
    return Path(os.environ["RAGKEEP_ROOT"]), Path(os.environ["RAGKEEP_VAR"])
