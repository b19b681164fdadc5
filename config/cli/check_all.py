"""`manage.py check-all`: what must be green before a commit, in under a minute."""

from __future__ import annotations

import os
import sys
import time

import click

from backups import process

PYTHON = sys.executable
BIN = os.path.dirname(PYTHON)  # noqa: PTH120 - a symlinked interpreter must keep its own folder

CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("format", (f"{BIN}/ruff", "format", "--check", ".")),
    ("lint", (f"{BIN}/ruff", "check", ".")),
    ("types", (f"{BIN}/mypy",)),
    ("imports", (f"{BIN}/lint-imports", "--no-cache", "--no-logo")),
    (
        "migrations",
        (PYTHON, "-m", "django", "makemigrations", "--check", "--dry-run", "--settings=config.settings.check"),
    ),
    ("unit tests", (PYTHON, "-m", "pytest", "-q", "tests/unit")),
)


@click.command("check-all")
def command() -> None:
    """Check format, lint, types, imports and migrations, and run the unit tests."""
    failed = [name for name, argv in CHECKS if not _passes(name, argv)]
    if failed:
        raise click.ClickException(f"not green: {', '.join(failed)}")
    click.echo("all green")


def _passes(name: str, argv: tuple[str, ...]) -> bool:
    begun = time.monotonic()
    done = process.run(argv, cwd=os.environ["RAGKEEP_ROOT"], check=False)
    seconds = time.monotonic() - begun
    click.echo(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'} ({seconds:.1f} s)")
    if done.returncode != 0:
        click.echo(done.stdout + done.stderr)
    return done.returncode == 0
