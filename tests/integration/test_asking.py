"""A process that may not do something itself has the worker do it, and gets the answer or the error."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from pytest_django import Settings

from portal.operations import asking
from portal.operations.asking import WorkerSilent, answer, by_worker
from portal.operations.errors import OperationFailed, OperationRefused
from portal.runtime.errors import StackFileError
from tests.support import servers

Sent = list[tuple[str, str, dict[str, Any]]]


@by_worker(patience=5)
def doubled(*, number: int) -> dict[str, int]:
    if number < 0:
        raise OperationRefused("It is negative.", code="negative", remedy="Take another.", data={"number": number})
    return {"doubled": 2 * number}


@by_worker(patience=5)
def broken(*, foreseen: bool) -> None:
    raise StackFileError("services", "expected a mapping") if foreseen else ZeroDivisionError("marker-4711")


@by_worker(patience=0.3)
def hurried() -> str:
    return "late"


@pytest.fixture
def elsewhere(settings: Settings, valkey_server: servers.Valkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    """This process asks; a thread stands in for the worker's task."""
    settings.AGENTS_ELSEWHERE, settings.VALKEY_URL = True, valkey_server.url
    sent: Sent = []
    threads: list[threading.Thread] = []

    def send(task: str, token: str, name: str, given: dict[str, Any], *, expires: float) -> None:
        assert task == asking.TASK
        assert expires > 0
        sent.append((token, name, json.loads(json.dumps(given))))
        if not name.endswith(":hurried"):
            threads.append(threading.Thread(target=answer, args=sent[-1]))
            threads[-1].start()

    monkeypatch.setattr(asking, "send", send)
    yield sent
    for thread in threads:
        thread.join()


def test_where_everything_is_allowed_nobody_is_asked(settings: Settings) -> None:
    settings.AGENTS_ELSEWHERE = False
    assert doubled(number=2) == {"doubled": 4}


def test_the_answer_comes_back(elsewhere: Sent, valkey_server: servers.Valkey) -> None:
    assert doubled(number=21) == {"doubled": 42}
    assert [(name.rpartition(":")[2], given) for _, name, given in elsewhere] == [("doubled", {"number": 21})]
    with redis.Redis.from_url(valkey_server.url) as client:
        assert client.keys("ragkeep:answer:*") == [], "nothing of it stays"


@pytest.mark.usefixtures("elsewhere")
def test_an_error_comes_back_with_its_code_and_remedy() -> None:
    with pytest.raises(OperationFailed) as failed:
        doubled(number=-1)
    told = failed.value
    assert (told.code, told.message, told.remedy) == ("negative", "It is negative.", "Take another.")
    assert told.data == {"number": -1}


@pytest.mark.usefixtures("elsewhere")
def test_what_goes_wrong_in_the_worker_is_told_at_once() -> None:
    with pytest.raises(OperationFailed, match="services: expected a mapping"):
        broken(foreseen=True)
    with pytest.raises(OperationFailed, match=r"The worker could not do it: ZeroDivisionError\.") as failed:
        broken(foreseen=False)
    assert (failed.value.code, failed.value.remedy) == ("unexpected", "Its log says why.")


@pytest.mark.usefixtures("elsewhere")
def test_a_worker_that_does_not_answer_is_told() -> None:
    with pytest.raises(WorkerSilent, match="did not answer"):
        hurried()
