"""Commands that a plan runs around its backup, as the account of the worker, without a shell.

A hook may be run again when a worker died during it; one that had ended is not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from django.db import DatabaseError

from backups.process import ProcessError, Running
from portal.operations.context import Context
from portal.operations.errors import Cancelled, Fenced, OperationFailed
from portal.operations.models import State
from portal.operations.registry import Outcome
from portal.vaults.models import Hook, HookOn, Plan

SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a hook writes beyond this many lines is read and thrown away.
LOGGED_LINES = 500

Report = dict[str, Any]


def with_hooks(ctx: Context, plan: Plan | None, set_id: str, work: Callable[[], Outcome]) -> Outcome:
    """Do `work` between the plan's hooks.

    Hooks before it must succeed; those after it are run whatever happened and only reported, as `hooks` in the result.

    Raises:
        OperationFailed: a hook before the backup failed.
    """
    hooks = list(plan.hooks.all()) if plan else []
    if plan is None or not hooks:
        return work()
    run = HookRun(ctx, plan, set_id, hooks)
    try:
        run.before()
        outcome = work()
    except (Fenced, DatabaseError):
        raise  # another worker takes over, with the hooks
    except Exception as error:
        run.after(State.CANCELLED if isinstance(error, Cancelled) else State.FAILED, getattr(error, "code", "internal"))
        raise
    return Outcome({**outcome.result, "hooks": run.after(outcome.state)}, outcome.state)


def hook_environment(facts: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a hook: nothing of the worker's own, which holds secrets."""
    told = {f"RAGKEEP_{name.upper()}": value for name, value in facts.items()}
    return {"PATH": SEARCHED, "HOME": str(Path.home()), "LANG": "C.UTF-8", **told}


def hooks_after(state: str) -> tuple[str, ...]:
    """Which hooks follow a backup that ended in this state: a partial set is no success."""
    if state == State.SUCCEEDED:
        return (HookOn.SUCCESS, HookOn.ALWAYS)
    return (HookOn.ALWAYS,) if state == State.CANCELLED else (HookOn.FAILURE, HookOn.ALWAYS)


class HookRun:
    """The hooks of one backup."""

    def __init__(self, ctx: Context, plan: Plan, set_id: str, hooks: Sequence[Hook]) -> None:
        self._ctx, self._hooks = ctx, hooks
        self._facts = {
            "plan": plan.name,
            "stack": plan.stack,
            "repository": plan.repository.name,
            "operation": str(ctx.operation.pk),
            "set": set_id,
        }

    def before(self) -> None:
        """Raises: OperationFailed: one of them failed; those after it are not run."""
        for hook in self._hooks:
            if hook.on == HookOn.BEFORE:
                self._step(hook, {"state": "starting", "error": ""}, undoing=False)

    def after(self, state: State, error: str = "") -> list[Report]:
        """Run what follows this state; returns {on, program, error} of each, `error` empty when it went well."""
        wanted, facts = hooks_after(state), {"state": str(state), "error": error}
        return [self._reported(hook, facts) for hook in self._hooks if hook.on in wanted]

    def _reported(self, hook: Hook, facts: Mapping[str, str]) -> Report:
        told = {"on": hook.on, "program": program_of(hook), "error": ""}
        try:
            self._step(hook, facts, undoing=True)
        except OperationFailed as failed:
            self._ctx.log(failed.message, level="error")
            told["error"] = failed.message
        return told

    def _step(self, hook: Hook, facts: Mapping[str, str], *, undoing: bool) -> None:
        name, when = f"hook.{hook.on}.{hook.ordinal}", "before" if hook.on == HookOn.BEFORE else "after"
        if self._ctx.done(name) is not None:
            return
        with self._ctx.step(name, f"Run {program_of(hook)} {when} the backup", undoing=undoing):
            env = hook_environment({**self._facts, **facts, "hook": hook.on})
            wrong = _run(self._ctx, hook, env, undoing=undoing)
            if not undoing:
                self._ctx.checkpoint()
            if wrong:
                raise OperationFailed(
                    f"The hook {program_of(hook)} {when} the backup {wrong}.",
                    code="hook_failed",
                    remedy=f"What it wrote is in the log. Mend it, or take it out of the plan {self._facts['plan']}.",
                )


def program_of(hook: Hook) -> str:
    """The program's name without its folder; its words may hold what not everybody should read."""
    return PurePath(hook.command[0]).name if hook.command else "(empty)"


def _run(ctx: Context, hook: Hook, env: Mapping[str, str], *, undoing: bool) -> str:
    """Run it to its end, or to its time; what it started ends with it. Returns what went wrong, empty for nothing."""
    late = threading.Event()
    try:
        with Running(hook.command, env=env, cwd="/", own_group=True) as running:
            clock = threading.Timer(hook.timeout_seconds, _end, [running, late])
            with ctx.monitor.interrupting(running.kill_group, on_cancel=not undoing):
                clock.start()
                try:
                    running.close_stdin()
                    _log(ctx, running)
                    code = running.wait()
                finally:
                    clock.cancel()
    except ProcessError as error:
        return error.reason
    if late.is_set():
        return f"did not end within {hook.timeout_seconds} s and was killed"
    return f"failed with status {code}" if code else ""


def _end(running: Running, late: threading.Event) -> None:
    late.set()
    running.kill_group()


def _log(ctx: Context, running: Running) -> None:
    count = 0
    for count, line in enumerate(running.lines(), 1):
        if count <= LOGGED_LINES:
            ctx.log(line)
    if count > LOGGED_LINES:
        ctx.log(f"{count - LOGGED_LINES} more lines were left out", level="warning")
    running.wait()
    for line in running.stderr.splitlines():
        ctx.log(line, level="warning")
