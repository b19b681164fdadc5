"""`test.walk` goes through steps and waits in one of them until a file appears."""

from __future__ import annotations

import time
from pathlib import Path

from portal.operations.context import Context
from portal.operations.errors import Cancelled, OperationFailed
from portal.operations.models import State
from portal.operations.registry import Outcome, exclusive, operation_kind, shared


def _wait_for(ctx: Context, gate: Path) -> None:
    while not gate.exists():
        ctx.checkpoint()
        time.sleep(0.02)


@operation_kind("test.walk", title="Walk", claims=lambda target, _: [shared(target)])
def walk(ctx: Context) -> Outcome:
    """Steps first, second, third; `second` waits for the file params["gate"], each first run of a step is counted."""
    trace = Path(ctx.params["trace"])
    try:
        for name in ("first", "second", "third"):
            if ctx.done(name) is not None:
                continue
            with ctx.step(name, name.title()) as data, trace.open("a") as file:
                file.write(f"{name} {ctx.attempt}\n")
                file.flush()
                ctx.progress(name, 0.5, {"steps": 1})
                if name == "second":
                    _wait_for(ctx, Path(ctx.params["gate"]))
                data["seen"] = True
    except Cancelled:
        with ctx.step("undo", "Undo", undoing=True):
            ctx.mark_undone("first")
        raise
    return Outcome({"attempt": ctx.attempt})


@operation_kind("test.alone", title="Alone", claims=lambda target, _: [exclusive(target)])
def alone(ctx: Context) -> Outcome:
    """Holds its target alone."""
    return Outcome()


@operation_kind("test.fail", title="Fail", claims=lambda _target, _params: [])
def fail(ctx: Context) -> Outcome:
    """Fails in its second step."""
    with ctx.step("good", "Good"):
        ctx.log("so far so good")
    with ctx.step("bad", "Bad"):
        raise OperationFailed("The disk is full.", code="space_short", remedy="Free some space.")


@operation_kind("test.crash", title="Crash", claims=lambda _target, _params: [])
def crash(ctx: Context) -> Outcome:
    """Meets an error that nobody foresaw."""
    raise ValueError("a detail that is for the log only")


@operation_kind("test.parent", title="Parent", claims=lambda target, _: [exclusive(target)])
def parent(ctx: Context) -> Outcome:
    """Runs a walk as its child."""
    child = ctx.child("test.walk", {"trace": ctx.params["trace"], "gate": ctx.params["gate"]})
    return Outcome({"child": str(child.pk), "child_state": child.state}, State.SUCCEEDED)
