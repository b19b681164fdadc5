"""`manage.py bench`: measure what the product promises, beside how the usual tools do it."""

from __future__ import annotations

import sys

import click

from config.cli.output import json_option, speaking
from portal.runtime.paths import RuntimePaths
from tests.bench import BENCHES, harness


@click.command("bench")
@click.argument("name", type=click.Choice(list(BENCHES)))
@click.option("--runs", type=click.IntRange(1, 1000), help="How often each thing is measured.")
@json_option
def command(name: str, runs: int | None, as_json: bool) -> None:
    """Measure NAME: prepare data of its own, run ours and the alternative in turn, print medians, spread and ratio.

    Exit status 1 when a promised bound is broken.
    """
    with speaking(as_json=as_json) as output:
        folder = RuntimePaths.discover().var / "bench"
        report = harness.run(name, runs=runs, under=folder, say=output.step)
        output.result({"bench": name, **report.as_dict()}, report.text())
    sys.exit(0 if report.kept else 1)
