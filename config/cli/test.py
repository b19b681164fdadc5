"""`manage.py test`: every tier this machine can run, and a word about each that it cannot."""

from __future__ import annotations

import os
import sys

import click

from backups import process
from config.tiers import PARTS, TIERS, Tier


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
    # A test named by the caller replaces the folders of the tiers; options alone do not.
    named = any("tests/" in word for word in arguments)
    paths = [] if named else [path for tier in tiers for path in tier.paths]
    return process.call([sys.executable, "-m", "pytest", *paths, *arguments], cwd=os.environ["RAGKEEP_ROOT"])
