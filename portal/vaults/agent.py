"""The portal's side of the agent's protocol: start it, follow its lines, know how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from portal.operations import fencing
from portal.operations.context import Context
from portal.operations.errors import Cancelled, Fenced, OperationFailed
from portal.operations.models import Step, StepState
from portal.vaults.agents import agent_opened, predecessors_removed

EXIT_FENCED = 4
# An agent that was killed is started again: every job of it can be repeated.
RUNS = 3
PREDECESSOR_SECONDS = 30.0

TITLES = {
    "find_set": "Find the set",
    "tree": "Read what is in the set",
    "preflight": "Look whether everything is ready",
    "look": "Try the sources out",
    "prepare": "Copy ahead what is large",
    "freeze": "Freeze all stores for a moment",
    "dump": "Dump the database",
    "verify": "Verify what was staged",
    "commit": "Store the set in the repository",
    "restore_documents": "Bring back documents",
    "restore_vectors": "Bring back vectors",
    "restore_models": "Bring back models",
    "restore_postgres": "Bring back the database",
    "check_target": "Look whether the target has room",
    "preview": "Compare the set with what is there",
    "check_documents": "Verify every document",
    "check_models": "Verify the models",
    "check_postgres": "Verify the database",
    "check_vectors": "Verify the files of the vectors",
    "verify_vectors": "Verify the vectors",
    "swap": "Exchange old and new data",
    "unswap": "Put the old data back",
    "discard": "Remove what is no longer needed",
    "measure_kept": "Measure what is kept",
    "extract": "Bring it to the folder",
    "find_documents": "Find the documents in the set",
    "find_lost": "Find the files that are lost",
    "fetch_documents": "Fetch the documents",
    "hand_back": "Hand them to the stack",
    "canary": "Ask the set's own questions",
    "compare": "Compare everything with the set",
    "open": "Open the repository",
    "check": "Check structure and a part of the data",
    "check_again": "Check once more",
    "affected": "Find the sets that are affected",
    "affected_again": "Find the sets that are still affected",
    "copy_aside": "Copy index and snapshots aside",
    "repair_index": "Mend the index",
    "repair_packs": "Save what is whole in damaged files",
    "repair_snapshots": "Drop from the sets what is lost",
    "forget": "Remove the snapshots",
    "look_again": "Look whether they are gone",
    "prune": "Remove data that no set needs",
    "unlock": "Clear locks of those who are gone",
    "copy": "Copy the sets",
    "measure": "Measure the repository",
    "read_back": "Read every byte back",
    "list_snapshots": "List what is in the repository",
    "read_sets": "Read what the sets say of themselves",
}


class AgentDied(OperationFailed):
    code = "agent_died"


class AgentSession:
    """One agent at work on one job."""

    def __init__(self, ctx: Context, kind: str) -> None:
        self._ctx = ctx
        self._kind = kind
        self._open: dict[str, Step] = {}
        self.last: dict[str, Any] = {}

    def handle(self, line: str) -> None:
        """Take one line of the protocol; what is no line of it goes to the log."""
        try:
            message = json.loads(line)
        except ValueError:
            message = {"type": "log", "message": line}
        kind = message.get("type")
        if kind == "step":
            self._step(message)
        elif kind == "progress":
            self._ctx.progress(
                TITLES.get(message["stage"], message["stage"]),
                message.get("fraction"),
                message.get("counts"),
                message.get("note", ""),
            )
        elif kind == "log":
            self._ctx.log(str(message["message"]), level=message.get("level", "info"))
        else:
            self.last = message

    def _step(self, message: Mapping[str, Any]) -> None:
        name, state = str(message["name"]), message["state"]
        if state == "started":
            title = TITLES.get(name, name.replace("_", " ").capitalize())
            self._open[name] = self._ctx.step_open(f"{self._kind}.{name}", title)
        elif name in self._open:
            ended = StepState.DONE if state == "done" else StepState.FAILED
            self._ctx.step_close(self._open.pop(name), ended, message.get("data", {}))

    def close(self) -> None:
        """Whatever the agent left open is over."""
        for row in self._open.values():
            self._ctx.step_close(row, StepState.FAILED, {"interrupted": True})


def run_agent(ctx: Context, job: Mapping[str, Any], *, undoing: bool = False) -> dict[str, Any]:
    """Have the agent do one job and return its result line.

    Args:
        undoing: it runs to its end even though the operation was cancelled.

    Raises:
        OperationFailed: with the agent's own code, sentence and remedy; AgentDied when it left none.
        Cancelled, Fenced
    """
    for run in range(1, RUNS + 1):
        try:
            return _run_once(ctx, job, undoing)
        except AgentDied as died:
            if run == RUNS:
                raise
            ctx.log(f"{died.message} It is started again.", level="warning")
    raise AssertionError("unreachable")


def _run_once(ctx: Context, job: Mapping[str, Any], undoing: bool) -> dict[str, Any]:
    _prove_predecessor_gone(ctx)
    session = AgentSession(ctx, str(job["kind"]))
    with agent_opened(job) as agent:
        with ctx.monitor.interrupting(agent.kill, on_cancel=not undoing):
            agent.send(json.dumps(job) + "\n")
            for line in agent.lines():
                session.handle(line)
            code = agent.wait()
        session.close()
        return _conclude(ctx, session.last, code, agent.stderr, undoing)


def _prove_predecessor_gone(ctx: Context) -> None:
    with fencing.held(ctx.work / "agent.lock", seconds=PREDECESSOR_SECONDS) as ours:
        if not ours or not predecessors_removed(str(ctx.operation.pk)):
            raise OperationFailed(
                "An earlier agent of this operation still runs.",
                code="operation_busy",
                remedy="End that process, then start the operation again.",
            )


def _conclude(ctx: Context, last: dict[str, Any], code: int, stderr: str, undoing: bool) -> dict[str, Any]:
    if ctx.monitor.fenced.is_set() or code == EXIT_FENCED:
        raise Fenced
    if last.get("type") == "result":
        return {key: value for key, value in last.items() if key != "type"}
    if ctx.monitor.cancelled.is_set() and not undoing:
        raise Cancelled
    for line in stderr.splitlines()[-20:]:
        ctx.log(line, level="error")
    if last.get("type") == "error":
        raise OperationFailed(
            last["message"], code=last["code"], remedy=last.get("remedy", ""), data=last.get("data") or {}
        )
    raise AgentDied(f"The backup agent ended without a result (status {code}).", remedy="The log has its last lines.")
