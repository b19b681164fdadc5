"""The worker's part of `up` with containers: one request as a line of JSON on standard input, lines of JSON back.

`{"step": text}` while it works, at last `{"result": ...}` or `{"error": ...}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from config.cli import recovery_notes
from config.cli.containers_up import actions_of, tell
from config.cli.installation import Installation, ensure_secrets, open_installation
from config.cli.output import Output, explained
from config.cli.up import settle_in


class Lines(Output):
    """Steps as lines of the protocol."""

    def step(self, text: str) -> None:
        _say({"step": text})

    line = step


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, default=str) + "\n")
    sys.stdout.flush()


def set_up(told: Mapping[str, Any], output: Output) -> dict[str, Any]:
    """Start the stack from its own copy of its files, and back it up and prove that once."""
    installation = _installed(told)
    recovery_notes.demand_finished(installation.paths)
    ensure_secrets(installation)
    output.step(f"starting {installation.stack.project}")
    plan = installation.runtime.apply(installation.stack, report=lambda status: tell(output, status))
    proof = settle_in(installation, output)
    actions = actions_of(installation.stack, plan)
    return {"set_id": proof.set_id, "drill": proof.drill, "actions": actions}


def _installed(told: Mapping[str, Any]) -> Installation:
    found = open_installation(port=told["port"])
    stack = found.stack.derive(base_port=told["port"], listen=told["listen"], settings=told["settings"])
    return replace(found, stack=stack, listen=told["listen"])


def main() -> int:
    """Carry out the request; returns the exit status."""
    try:
        _say({"result": set_up(json.loads(sys.stdin.readline()), Lines())})
    except Exception as error:
        problem = explained(error)
        _say({"error": {"message": problem.message, "remedy": problem.remedy, "code": problem.code}})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
