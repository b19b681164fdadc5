"""How long a deploy takes, beside plain `docker compose up -d --wait` of the same project.

Twice: the whole stack from nothing but its volumes, and a change of api and chat on a stack that runs.
"""

from __future__ import annotations

import itertools
import time

from tests.bench.harness import Bound, Measure, Place, Report, Spread, in_turn
from tests.support import deployed_stack, docker_engine
from tests.support.deployed_stack import DeployedStack

RATIO, GRACE_SECONDS = 1.15, 2.0
AGAINST = "docker compose up -d --wait"


def run(place: Place) -> Report:
    """Measure both in turn; needs a Docker Engine."""
    with docker_engine.running() as engine:
        place.say("building and starting the stack in containers")
        with deployed_stack.deployed(engine, place.folder) as stack:
            place.say(f"the whole stack, {place.runs} times each")
            whole = in_turn(place.runs, lambda: _whole(stack, ours=True), lambda: _whole(stack, ours=False))
            place.say(f"api and chat, {place.runs} times each")
            marks = itertools.count()
            part = in_turn(
                place.runs,
                lambda: _part(stack, str(next(marks)), ours=True),
                lambda: _part(stack, str(next(marks)), ours=False),
            )
    pairs = {"whole stack": whole, "api and chat": part}
    return Report([_measure(*pair) for pair in pairs.items()], [_bound(*pair) for pair in pairs.items()])


def _measure(name: str, pair: tuple[Spread, Spread]) -> Measure:
    return Measure(f"deploy of {name}", "s", pair[0], AGAINST, pair[1])


def _bound(name: str, pair: tuple[Spread, Spread]) -> Bound:
    return Bound(f"deploy of {name}", pair[0].median, round(RATIO * pair[1].median + GRACE_SECONDS, 2), "s")


def _whole(stack: DeployedStack, *, ours: bool) -> float:
    stack.compose("down")
    return _deploy(stack, "none", ours=ours)


def _part(stack: DeployedStack, mark: str, *, ours: bool) -> float:
    """Seconds of a change of api and chat on a stack that runs."""
    # What ours started Compose would start anew, for its own labels; that is not what is measured.
    stack.compose("up", "--detach", "--wait", "--no-build")
    return _deploy(stack, mark, ours=ours)


def _deploy(stack: DeployedStack, mark: str, *, ours: bool) -> float:
    """Seconds of a deploy: plan and apply, or what Compose takes for the same rendered file."""
    spec = stack.release(mark)
    stack.file.write_text(stack.runtime.rendered(spec).text)
    began = time.perf_counter()
    if ours:
        stack.runtime.provide(spec)
        stack.runtime.plan(spec)
        stack.runtime.apply(spec)
    else:
        stack.compose("up", "--detach", "--wait", "--no-build")
    return time.perf_counter() - began
