"""`manage.py test`: every tier this machine can run, and a word about each that it cannot."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from backups import process
from config.bootstrap import child_environment
from config.privileges import drop_prefix
from config.tiers import PARTS, TIERS, Tier

# pytest's status when a selection leaves nothing.
NO_TESTS = 5


@click.command("test", context_settings={"ignore_unknown_options": True})
@click.option(
    "--tier", "names", multiple=True, type=click.Choice([tier.name for tier in TIERS]), help="Only this tier."
)
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
def command(names: tuple[str, ...], pytest_arguments: tuple[str, ...]) -> None:
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
    sys.exit(_pytest(chosen, pytest_arguments))


def _parts_left_out(tiers: list[str]) -> list[str]:
    """Say which tests within these tiers are skipped for lack of a program; returns their names."""
    lacking = [(part.tests, reason) for part in PARTS if part.tier in tiers and (reason := part.missing(os.environ))]
    for tests, reason in lacking:
        click.echo(f"tests of {tests}: left out, {reason}", err=True)
    return [tests for tests, _ in lacking]


def _pytest(tiers: list[Tier], arguments: tuple[str, ...]) -> int:
    """Run these tiers: those that root's rights are given up for, then the others; returns the worst exit status."""
    # A test named by the caller replaces the folders of the tiers; options alone do not.
    if any("tests/" in word for word in arguments):
        codes = [_run([], arguments, as_caller=any(_is_privileged(word) for word in arguments))]
    else:
        groups = [(kind, [tier for tier in tiers if tier.as_caller is kind]) for kind in (False, True)]
        codes = [
            _run([path for tier in group for path in tier.paths], arguments, as_caller=kind)
            for kind, group in groups
            if group
        ]
    return max((code for code in codes if code != NO_TESTS), default=NO_TESTS)


def _is_privileged(word: str) -> bool:
    return any(path in word for tier in TIERS if tier.as_caller for path in tier.paths)


def _run(paths: list[str], arguments: tuple[str, ...], *, as_caller: bool) -> int:
    root, var = Path(os.environ["RAGKEEP_ROOT"]), Path(os.environ["RAGKEEP_VAR"])
    words = [sys.executable, "-m", "pytest", *paths, *arguments]
    if as_caller:
        # What root writes into the shared cache nobody else could change.
        return process.call([*words, "-o", f"cache_dir={var / 'cache' / 'pytest-caller'}"], cwd=root)
    prefix = drop_prefix(root, var, Path(sys.executable))
    return process.call([*prefix, *words], env=child_environment(var, dropped=bool(prefix)), cwd=root)
