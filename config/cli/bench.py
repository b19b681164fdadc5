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
@click.option("--chunks", type=click.IntRange(100, 10_000_000), help="On how many chunks backups are measured.")
@json_option
def command(name: str, runs: int | None, chunks: int | None, as_json: bool) -> None:
    """Measure NAME: prepare data of its own, run ours and the alternative in turn, print medians, spread and ratio.

    Exit status 1 when a promised bound is broken.
    """
    with speaking(as_json=as_json) as output:
        var = RuntimePaths.discover().var
        cache = var / "cache" / "bench"
        report = harness.run(name, runs=runs, chunks=chunks, under=var / "bench", cache=cache, say=output.step)
        output.result({"bench": name, **report.as_dict()}, report.text())
    sys.exit(0 if report.kept else 1)
