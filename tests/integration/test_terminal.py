"""Terminals: who may open one, what ends it, and that nothing is left of it."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from django.utils import timezone

from config.celery import app
from portal.core import places
from portal.core.models import AuditEntry
from portal.operations import queue
from portal.operations.errors import InputInvalid, OperationRefused
from portal.operations.models import Claim, Mode, State
from portal.runtime import procfs
from portal.runtime.terminals import MARK
from portal.stacks.models import Stack
from portal.stacks.services import stack_ensure
from portal.terminal import services, serving, wire
from portal.terminal.models import End, TerminalPolicy, TerminalSession
from tests.support import portal_web, servers, terminal_site
from tests.support.portal_scene import PlacedRuntime

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def stack(control_plane: None, seen: dict[str, Client]) -> Stack:
    return stack_ensure(name="rag")


@pytest.fixture
def allowed(stack: Stack) -> Stack:
    services.policy_change(enabled=True, idle_minutes=15, user=None)
    return stack


@pytest.fixture
def user(seen: dict[str, Client]) -> User:
    return User.objects.get(username=portal_web.OPERATOR)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlacedRuntime]:
    """Shells that only echo, served by threads of this process, quick to look up."""
    fake = PlacedRuntime(tmp_path)
    monkeypatch.setattr(places, "runtime", lambda: fake)
    monkeypatch.setattr(queue, "send", lambda _, session, **__: serving.serve(session))
    monkeypatch.setattr(serving, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(serving, "RIGHTS_SECONDS", 0.05)
    yield fake
    serving.end_all(End.WORKER)
    for thread in threading.enumerate():
        if thread.name.startswith("terminal-"):
            thread.join(10)


def opened(stack: Stack, user: User, *, service: str = "api") -> TerminalSession:
    """A session whose page is read by somebody."""
    session = services.session_open(stack=stack, service=service, user=user)
    wire.client().set(wire.reader(session.pk), 1, ex=60)
    return session


def entries(session: TerminalSession) -> list[Any]:
    return cast("list[Any]", wire.client().xrange(wire.output(session.pk)))


def written(session: TerminalSession) -> bytes:
    found = entries(session)
    return b"".join(wire.unsealed(session.pk, fields[b"data"]) for _, fields in found if b"data" in fields)


def ended(session: TerminalSession) -> str:
    """Why it ended, once it has."""
    servers.wait_until(lambda: not TerminalSession.objects.filter(pk=session.pk, ended_at=None), what="the end")
    session.refresh_from_db()
    return session.reason


def restore_begins(stack: Stack) -> None:
    begun = portal_web.operation("restore", State.RUNNING)
    Claim.objects.create(operation=begun, scope=stack.target, mode=Mode.EXCLUSIVE)


def test_none_is_opened_unless_somebody_allowed_them(stack: Stack, user: User, runtime: PlacedRuntime) -> None:
    with pytest.raises(OperationRefused, match="switched off") as refused:
        services.session_open(stack=stack, service="api", user=user)
    assert refused.value.code == "terminal_off"
    assert not TerminalSession.objects.exists()
    assert runtime.terminals == {}


def test_a_number_of_minutes_that_makes_no_sense_changes_nothing(allowed: Stack, user: User) -> None:
    with pytest.raises(InputInvalid, match="from 1 to 240"):
        services.policy_change(enabled=True, idle_minutes=0, user=user)
    assert services.policy_get().idle_minutes == 15


def test_only_so_many_are_open_at_once(allowed: Stack, user: User, runtime: PlacedRuntime) -> None:
    sessions = [opened(allowed, user) for _ in range(services.AT_ONCE)]
    with pytest.raises(OperationRefused, match="4 terminals are open"):
        opened(allowed, user)
    services.sessions_end(sessions[:1], End.CLOSED)
    assert ended(sessions[0]) == End.CLOSED
    opened(allowed, user)


def test_none_is_opened_where_there_is_nothing_or_a_restore_at_work(
    allowed: Stack, user: User, runtime: PlacedRuntime
) -> None:
    with pytest.raises(InputInvalid, match="no service nosuch"):
        opened(allowed, user, service="nosuch")
    restore_begins(allowed)
    with pytest.raises(OperationRefused, match="is being restored"):
        opened(allowed, user)


def test_what_is_typed_reaches_the_shell_and_its_answer_the_page(
    allowed: Stack, user: User, runtime: PlacedRuntime
) -> None:
    session = opened(allowed, user)
    wire.send(session.pk, {"size": [33, 111]})
    wire.send(session.pk, {"text": "stty size\r"})
    servers.wait_until(lambda: b"33 111\r\n" in written(session), what="the answer")
    assert not any(b"stty" in fields[b"data"] for _, fields in entries(session)), "it lies about as it was shown"
    wire.send(session.pk, {"text": "exit\r"})
    assert ended(session) == End.EXIT
    audited = {entry.action: entry for entry in AuditEntry.objects.filter(action__startswith="terminal")}
    assert audited["terminal.opened"].target == audited["terminal.ended"].target == "stack:rag/api"
    assert audited["terminal.ended"].actor_name == portal_web.OPERATOR
    assert audited["terminal.ended"].data["seconds"] <= 10
    assert not any("stty" in str(entry.data) for entry in AuditEntry.objects.all())


def leave(session: TerminalSession) -> None:
    wire.client().delete(wire.reader(session.pk))


def unused(session: TerminalSession) -> None:
    TerminalPolicy.objects.update(idle_minutes=0)


def demoted(session: TerminalSession) -> None:
    User.objects.filter(username=session.user_name).update(is_staff=False)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda session: services.policy_change(enabled=False, idle_minutes=15, user=None), End.SWITCHED_OFF),
        (lambda session: TerminalPolicy.objects.update(enabled=False), End.SWITCHED_OFF),
        (leave, End.AWAY),
        (unused, End.IDLE),
        (demoted, End.ACCOUNT),
        (lambda session: services.sessions_of_leaver_end(user=session.user), End.ACCOUNT),
        (lambda session: restore_begins(session.stack), End.RESTORE),
        (lambda session: serving.end_all(End.WORKER), End.WORKER),
    ],
    ids=["switched off", "switched off in the database", "left", "idle", "demoted", "signed out", "restore", "worker"],
)
def test_what_ends_a_session(
    act: Callable[[TerminalSession], object],
    reason: str,
    allowed: Stack,
    user: User,
    runtime: PlacedRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "READER_SECONDS", 0.3)
    session = opened(allowed, user)
    servers.wait_until(lambda: b"$ " in written(session), what="the prompt")
    act(session)
    assert ended(session) == reason
    assert runtime.terminals[session.mark].read(0) == b"", "the shell still runs"
    last = cast("list[Any]", wire.client().xrevrange(wire.output(session.pk), count=1))[0][1]
    assert json.loads(last[b"end"])["reason"] == reason


def test_a_page_that_is_behind_makes_the_shell_wait_and_loses_nothing(
    allowed: Stack, user: User, runtime: PlacedRuntime
) -> None:
    session = opened(allowed, user)
    servers.wait_until(lambda: session.mark in runtime.terminals, what="the shell")
    shell, block = runtime.terminals[session.mark], b"x" * 65_536
    for _ in range(16):
        shell._written.put(block)
    shell._written.put(b"the end")
    servers.wait_until(lambda: len(written(session)) >= serving.UNSEEN_BYTES, what="as much as may be ahead")
    assert len(written(session)) <= serving.UNSEEN_BYTES + len(block)

    read, after = b"", wire.NOTHING
    while not read.endswith(b"the end"):
        found = cast("list[Any]", wire.client().xread({wire.output(session.pk): after}, count=1, block=5000))
        assert found, "nothing more came"
        entry, fields = found[0][1][0]
        read, after = read + wire.unsealed(session.pk, fields[b"data"]), entry.decode()
        wire.send(session.pk, {"seen": after})
    assert read.count(b"x") == 16 * len(block)
    servers.wait_until(lambda: len(written(session)) < serving.KEPT_BYTES + len(block), what="old output gone")


def test_what_a_worker_left_behind_is_ended_but_not_what_still_lives(
    allowed: Stack, user: User, runtime: PlacedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "send", lambda *_, **__: None)
    young, old, living = (services.session_open(stack=allowed, service="api", user=user) for _ in range(3))
    past = timezone.now() - timedelta(minutes=5)
    TerminalSession.objects.filter(pk__in=[old.pk, living.pk]).update(opened_at=past)
    wire.client().set(wire.alive(living.pk), 1, ex=60)
    services.sessions_tidy()
    assert set(TerminalSession.objects.filter(ended_at=None)) == {young, living}
    assert TerminalSession.objects.get(pk=old.pk).reason == End.LOST
    assert ("end_terminal", "rag", "api") in runtime.calls


def test_the_page_wants_the_password_again(allowed: Stack, seen: dict[str, Client], runtime: PlacedRuntime) -> None:
    wrong = seen["operator"].post("/stack/terminal/open/", {"service": "api", "password": "guessed"})
    assert (wrong.status_code, b"That is not your password." in wrong.content) == (422, True)
    assert AuditEntry.objects.filter(action="sign-in.failed", target=portal_web.OPERATOR).count() == 1
    assert not TerminalSession.objects.exists()
    right = seen["operator"].post("/stack/terminal/open/", {"service": "api", "password": portal_web.PASSWORD})
    session = TerminalSession.objects.get()
    assert right.headers["Location"] == f"/stack/terminal/{session.pk}/"


def test_a_terminal_is_for_the_one_who_opened_it(
    allowed: Stack, user: User, seen: dict[str, Client], runtime: PlacedRuntime
) -> None:
    session = opened(allowed, user)
    other = User.objects.create_user("other@example.org", "other@example.org", portal_web.PASSWORD, is_staff=True)
    client = Client()
    client.force_login(other)
    place = f"/stack/terminal/{session.pk}/"
    assert [client.get(place).status_code, client.get(f"{place}stream/").status_code] == [404, 404]
    assert client.post(f"{place}send/", {"text": "x"}, content_type="application/json").status_code == 404
    assert seen["reader"].get(f"{place}stream/").status_code == 403
    assert Client().get(f"{place}stream/").headers["Location"].startswith("/sign-in/")
    assert seen["operator"].get(place).status_code == 200

    client.post(f"{place}end/")
    assert ended(session) == End.CLOSED
    assert AuditEntry.objects.filter(action="terminal.closed", actor=other).exists()
    assert seen["operator"].post(f"{place}send/", {}, content_type="application/json").status_code == 410


def events_after(session: TerminalSession, entry: str, user: User) -> list[str]:
    """The events of the stream to its end, for a page that has everything up to an entry."""

    async def read() -> str:
        client = AsyncClient()
        await client.aforce_login(user)
        answer = await client.get(f"/stack/terminal/{session.pk}/stream/", headers={"Last-Event-ID": entry})
        return b"".join([piece async for piece in answer]).decode()  # type: ignore[attr-defined]

    return [event for event in async_to_sync(read)().split("\n\n") if "data:" in event]


def test_a_page_that_lost_its_connection_goes_on_where_it_was(
    allowed: Stack, user: User, operator: Client, runtime: PlacedRuntime
) -> None:
    session = opened(allowed, user)
    servers.wait_until(lambda: b"$ " in written(session), what="the prompt")
    seen = entries(session)[-1][0].decode()
    wire.send(session.pk, {"text": "stty size\r"})
    servers.wait_until(lambda: b"24 80" in written(session), what="the answer")
    services.session_close(session, user=user)
    assert ended(session) == End.CLOSED
    *shown, end = events_after(session, seen, user)
    told = b"".join(base64.b64decode(event.rpartition("data: ")[2]) for event in shown)
    assert told == b"stty size\r\n24 80\r\n$ "
    assert "event: end" in end
    assert '"words": "closed"' in end
    place = f"/stack/terminal/{session.pk}/stream/?after=sometime"
    assert operator.get(place).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"text": 1}',
        '{"size": [0, 80]}',
        '{"size": "ab"}',
        '{"seen": "x"}',
        '{"text": "%s"}' % ("x" * 40_000),
    ],
)
def test_what_no_page_sends_is_refused(
    body: str, allowed: Stack, user: User, operator: Client, runtime: PlacedRuntime
) -> None:
    session = opened(allowed, user)
    answer = operator.post(f"/stack/terminal/{session.pk}/send/", body, content_type="application/json")
    assert answer.status_code == 400


def test_a_service_that_cannot_be_entered_says_why(
    allowed: Stack, user: User, runtime: PlacedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.runtime.errors import StackRuntimeError

    def refuse(*_: object, **__: object) -> None:
        raise StackRuntimeError("service api does not run", "start it first")

    monkeypatch.setattr(runtime, "terminal", refuse)
    session = opened(allowed, user)
    assert (ended(session), session.detail) == (End.FAILED, "service api does not run: start it first")


def test_nothing_is_left_of_a_killed_worker(
    allowed: Stack, user: User, valkey_server: servers.Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marked() -> list[int]:
        return [pid for pid in procfs.table() if procfs.environment(pid).get(MARK) == session.mark]

    with terminal_site.worker(valkey_server, tmp_path) as worker:
        session = opened(allowed, user)
        wire.send(session.pk, {"text": "(trap '' HUP; exec sleep 4444) & echo be''gun\r"})
        servers.wait_until(lambda: b"begun" in written(session), what="the shell")
        assert marked()
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    wire.client().delete(wire.alive(session.pk))
    TerminalSession.objects.update(opened_at=timezone.now() - timedelta(minutes=5))
    with terminal_site.worker(valkey_server, tmp_path):
        app.send_task("portal.terminal.tidy")
        assert ended(session) == End.LOST
        servers.wait_until(lambda: not marked(), what="the end of what was started")
