"""Looking at a stack again and again: what is kept, what is thinned out, what is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from portal.alarms.conditions import conditions_now
from portal.runtime.protocol import Happened, Happening
from portal.stacks.models import Stack
from portal.stacks.selectors import stack_get_default
from portal.watch.models import Event, EventKind, Sample, Watched
from portal.watch.selectors import event_list, usage
from portal.watch.services import samples_thin, stack_watch, stacks_watch
from tests.support import portal_scene
from tests.support.portal_scene import Scene

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

scene = portal_scene.scene
NOON = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)


def look(seconds: float = 0.0) -> list[str]:
    found = stack_watch(stack=stack_get_default(), now=NOON + timedelta(seconds=seconds))
    return [f"{event.service} {event.kind}" for event in found]


def test_what_services_use_is_kept_once_a_minute(scene: Scene) -> None:
    look()
    look(10)
    look(60)
    assert Sample.objects.filter(service="api").count() == 2
    assert Sample.objects.count() == 2 * len(scene.spec.services)
    (first, second) = usage(stack_get_default(), since=NOON - timedelta(hours=1))["api"]
    assert (first.processors, second.processors) == (None, 0.0)
    assert second.memory_bytes == 1 << 20


def test_a_stop_and_a_start_are_told_once_each(scene: Scene) -> None:
    assert look() == []
    scene.runtime.stop(scene.spec, services=["frontend"])
    assert look(20) == ["frontend stopped"]
    assert look(40) == []
    scene.runtime.apply(scene.spec)
    assert look(60) == ["frontend started"]
    kept = event_list(stack_get_default(), service="frontend")
    assert {event.kind for event in kept} == {EventKind.STOPPED, EventKind.STARTED}


def test_ends_by_itself_raise_an_alarm(scene: Scene) -> None:
    look()
    for second in (5, 8, 11):
        at = (NOON + timedelta(seconds=second)).timestamp()
        scene.runtime.happened.append(Happening("api", at, Happened.ENDED, "exit status 1"))
    assert look(20) == ["api crashed"] * 3
    assert look(40) == []
    found = [c for c in conditions_now(NOON + timedelta(minutes=1), stacks=False) if c.key.startswith("service.")]
    assert [c.title for c in found] == ["api of rag ended by itself 3 times in the last 15 minutes"]
    later = conditions_now(NOON + timedelta(minutes=20), stacks=False)
    assert not [c for c in later if c.key.startswith("service.")]


def test_one_that_ran_out_of_memory_is_named(scene: Scene) -> None:
    look()
    at = (NOON + timedelta(seconds=5)).timestamp()
    scene.runtime.happened.append(Happening("ollama", at, Happened.OUT_OF_MEMORY, "used more than its limit"))
    look(20)
    (found,) = [c for c in conditions_now(NOON + timedelta(minutes=1), stacks=False) if c.key.startswith("service.")]
    assert found.key == "service.memory stack:rag ollama"
    assert "ran out of memory" in found.title


def test_nothing_is_told_twice_however_often_it_is_read(scene: Scene) -> None:
    look()
    at = (NOON + timedelta(seconds=5)).timestamp()
    scene.runtime.happened.append(Happening("api", at, Happened.ENDED, "exit status 1"))
    look(20)
    Watched.objects.update(seen_at=NOON)
    look(21)
    assert Event.objects.count() == 1


def test_a_week_is_kept_and_thinned_out_after_a_day(scene: Scene) -> None:
    stack = stack_get_default()
    made = [
        Sample(
            stack=stack, service="api", at=NOON.replace(second=0) - timedelta(minutes=n), memory_bytes=1, cpu_seconds=0
        )
        for n in range(0, 10 * 24 * 60)
    ]
    Sample.objects.bulk_create(made)
    Event.objects.create(stack=stack, service="api", at=NOON - timedelta(days=31), kind=EventKind.STARTED)
    samples_thin(now=NOON)
    # Every minute of a day, every tenth of six more.
    assert Sample.objects.count() == pytest.approx(24 * 60 + 6 * 24 * 6, abs=2)
    assert not Event.objects.exists()


def test_a_stack_that_cannot_be_read_does_not_keep_others_from_being_looked_at(scene: Scene) -> None:
    Stack.objects.create(name="other")
    stacks_watch(now=NOON)
    assert Sample.objects.filter(stack__name="rag").exists()
