"""`manage.py plan`: what a deploy would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from config.cli.operations import connect, run_operation
from config.cli.output import Output, UserError, json_option, speaking


@click.command("plan")
@json_option
def command(as_json: bool) -> None:
    """Say what a deploy would do now, service by service and why. Changes nothing."""
    with speaking(as_json=as_json) as output:
        connect()
        report = planned(output)
        output.result(report, "\n".join(plan_lines(report)))


def planned(output: Output) -> dict[str, Any]:
    """The plan as the worker sees it.

    Raises:
        UserError: the runtime does not answer, or the stack's files are not what can be run.
    """
    output.step("comparing what runs with what is described")
    report: dict[str, Any] = run_operation(output, "stack.plan").result["plan"]
    output.done()
    return report


def demand_possible(report: Mapping[str, Any]) -> None:
    """
    Raises:
        UserError: something keeps the deploy from succeeding.
    """
    found = report["problems"]
    if found:
        raise UserError("; ".join(one["message"] for one in found), found[0]["remedy"], "not_ready")


def plan_lines(report: Mapping[str, Any]) -> list[str]:
    """The plan for people; of settings and files the names only."""
    if report["nothing"] and report["release"] is None:
        return ["nothing to start or change: a deploy records what runs as the first release"]
    if report["nothing"]:
        return [f"nothing to do: release {report['release']} runs as described"]
    width = max((len(row["service"]) for row in report["changes"]), default=0)
    lines = [f"{row['service']:<{width}}  {row['action']:<9} {row['reason']}".rstrip() for row in report["changes"]]
    lines += [f"setting {name}: {how}" for name, how in report["settings"].items()]
    lines += [f"{service}, {name}: {how}" for service, files in report["files"].items() for name, how in files.items()]
    lines += [f"data is touched: {why}" for why in report["touches"]]
    if report["backup"]:
        lines.append("a backup is taken first")
    return lines + [f"in the way: {one['message']}; {one['remedy']}" for one in report["problems"]]
