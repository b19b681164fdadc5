"""What people notice of a redeploy of api and chat, beside `docker compose up -d --force-recreate` of the same two.

Both on the whole stack in containers, under twenty calls a second, an answer that streams meanwhile and a conversation
open in a browser. What Compose leaves behind is put right between the runs: each begins with a stack that serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.bench.harness import Bound, Measure, Place, Report, spread
from tests.support import deployed_stack, docker_engine
from tests.support.deployed_stack import SHORT, Call, DeployedStack
from tests.support.open_chat import OpenChat, open_chat
from tests.support.servers import wait_until

SLOWEST_SECONDS = 2.0
RECONNECT_SECONDS = 5.0
CALM_SECONDS = 3.0
SERVICES = ("api", "frontend")


@dataclass
class Seen:
    """What people saw of the redeploys of one kind, a value for each."""

    seconds: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    lost: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, calls: list[Call], chat: OpenChat, seconds: float) -> None:
        self.seconds.append(seconds)
        self.gaps.append(chat.sockets.longest_gap())
        self.lost += not chat.is_whole()
        self.failed.append(sum(bool(call.fault) for call in calls))
        self.slowest.append(max((call.seconds for call in calls if call.kind in SHORT), default=0.0))
        self.faults += [f"{call.kind}: {call.fault}" for call in calls if call.fault]


def run(place: Place) -> Report:
    """Measure both in turn; needs a Docker Engine and Chromium."""
    ours, plain = Seen(), Seen()
    with docker_engine.running() as engine:
        place.say("building and starting the stack in containers")
        with deployed_stack.deployed(engine, place.folder) as stack:
            _ready(stack)
            for number in range(place.runs):
                _measure(stack, ours, partial(_redeploy, stack, str(number)))
                _measure(stack, plain, partial(_recreate, stack))
                place.say(
                    f"run {number + 1}: {ours.failed[-1]:g} of ours failed, {plain.failed[-1]:g} of plain Compose's"
                )
    return _report(ours, plain)


def _ready(stack: DeployedStack) -> None:
    with stack.client() as client:
        deployed_stack.fact(client, lambda ready: wait_until(ready, what="the document", seconds=180))


def _redeploy(stack: DeployedStack, mark: str) -> None:
    plan = stack.runtime.apply(stack.release(mark))
    replaced = tuple(change.service for change in plan.changes if "configuration" in change.causes)
    stack.file.write_text(stack.runtime.rendered(stack.release(mark)).text)
    if replaced != SERVICES:
        raise AssertionError(f"meant to replace {SERVICES}, replaced {replaced}")


def _recreate(stack: DeployedStack) -> None:
    stack.compose("up", "--detach", "--wait", "--no-build", "--no-deps", "--force-recreate", *SERVICES)


def _measure(stack: DeployedStack, seen: Seen, act: Callable[[], None]) -> None:
    with open_chat(stack) as chat:
        with deployed_stack.at_work(stack) as people:
            chat.listen(CALM_SECONDS * 1000)
            people.begin_answer()
            began = time.monotonic()
            chat.meanwhile(act)
            seconds = time.monotonic() - began
            chat.listen(CALM_SECONDS * 1000)
        chat.settle()
        # Whatever began before and ended after it belongs to it, too.
        seen.add([call for call in people.calls if call.began + call.seconds > began], chat, seconds)
    stack.runtime.reconcile(stack.spec)


def _report(ours: Seen, plain: Seen) -> Report:
    against = "docker compose up --force-recreate"
    measures = [
        Measure("failed requests", "", spread(ours.failed), against, spread(plain.failed)),
        Measure("slowest short request", "s", spread(ours.slowest), against, spread(plain.slowest)),
        Measure("chat without a connection", "s", spread(ours.gaps), against, spread(plain.gaps)),
        Measure("redeploy", "s", spread(ours.seconds), against, spread(plain.seconds)),
    ]
    bounds = [
        Bound("failed requests of all redeploys", sum(ours.failed), 0),
        Bound("slowest short request", max(ours.slowest), SLOWEST_SECONDS, "s"),
        Bound("chat without a connection", max(ours.gaps), RECONNECT_SECONDS, "s"),
        Bound("conversations lost", ours.lost, 0),
    ]
    facts = {
        "calls_a_second": 20,
        "faults": sorted(set(ours.faults))[:5],
        "faults_of_compose": len(plain.faults),
        "conversations_lost_by_compose": plain.lost,
    }
    return Report(measures, bounds, facts)
