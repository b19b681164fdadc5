"""What the verbs share that bring a release into service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from config.cli.confirming import confirm
from config.cli.output import Output
from config.cli.plan import demand_possible, plan_lines

if TYPE_CHECKING:
    from portal.operations.models import Operation


def agreed(output: Output, report: Mapping[str, Any], *, pull: bool = False) -> bool:
    """Show what a deploy would do and have somebody say yes; False, and said so, where there is nothing to do.

    Args:
        pull: images are fetched anew, so that nobody knows before that nothing is to do.

    Raises:
        UserError: something keeps the deploy from succeeding, they said no, or nobody can be asked.
    """
    demand_possible(report)
    for line in plan_lines(report):
        output.line(line)
    if pull:
        output.line("images are fetched anew first: what they are newer for is replaced besides")
    if pull or not report["nothing"]:
        confirm(output, "Deploy this?")
    elif report["release"] is not None:
        fields = {"release": report["release"], "changes": {}, "set_id": None, "operation": None}
        output.result(fields, "nothing to do")
        return False
    return True


def tell(output: Output, operation: Operation) -> None:
    """Say how an operation ended that brings a release into service."""
    output.result({**operation.result, "operation": str(operation.pk)}, _told(operation.result))


def _told(result: Mapping[str, Any]) -> str:
    if not result["changes"]:
        return f"nothing to do: release {result['release']} serves"
    lines = [f"release {result['release']} serves"]
    lines += [f"  {service}: {action}d" if action.endswith("e") else f"  {service}: {action}ed"
              for service, action in result["changes"].items()]  # fmt: skip
    if result.get("set_id"):
        lines.append(f"The data from before is in the set {result['set_id']}.")
    if result.get("restored"):
        lines.append(f"The data of the set {result['restored']} came back with it.")
    return "\n".join(lines)
