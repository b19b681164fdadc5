"""Switching terminals on and off, opening and ending them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import redis
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from portal.core import places
from portal.core.services import audit
from portal.operations import queue
from portal.operations.claims import lock_names
from portal.operations.errors import InputInvalid, OperationFailed, OperationRefused
from portal.operations.models import Claim, Mode
from portal.runtime.errors import StackRuntimeError
from portal.stacks.models import Stack
from portal.terminal import wire
from portal.terminal.models import End, TerminalPolicy, TerminalSession

log = logging.getLogger(__name__)

TASK = "portal.terminal.serve"
AT_ONCE = 4
LONGEST_IDLE_MINUTES = 240
# A task that no worker fetched by then is not carried out any more.
FETCHED_SECONDS = 20
LOCK = "terminals"
# How long somebody who ends one waits to see it ended.
CLOSING_SECONDS = 2.0


def policy_get() -> TerminalPolicy:
    """What holds now; off where nobody ever said anything."""
    return TerminalPolicy.objects.filter(pk=1).first() or TerminalPolicy(pk=1)


def policy_change(*, enabled: bool, idle_minutes: int, user: User | None) -> TerminalPolicy:
    """Allow terminals or forbid them; those that are open end when they are forbidden.

    Raises:
        InputInvalid: a time that makes no sense.
    """
    if not 1 <= idle_minutes <= LONGEST_IDLE_MINUTES:
        raise InputInvalid({"idle_minutes": f"Give a number of minutes from 1 to {LONGEST_IDLE_MINUTES}."})
    told = {"enabled": enabled, "idle_minutes": idle_minutes}
    with transaction.atomic():
        lock_names([LOCK])
        policy, _ = TerminalPolicy.objects.update_or_create(pk=1, defaults=told)
        audit(action="terminal.policy", user=user, data=told)
    if not enabled:
        sessions_end(TerminalSession.objects.filter(ended_at=None), End.SWITCHED_OFF)
    return policy


def session_open(*, stack: Stack, service: str, user: User) -> TerminalSession:
    """Have the worker open a shell in a service; who asks has just proven to be who they are.

    Raises:
        InputInvalid: the stack has no such service.
        OperationRefused: terminals are off, too many are open, or the stack is being restored.
        OperationFailed: the worker cannot be told.
    """
    if service not in places.stack_spec(stack.name).services:
        raise InputInvalid({"service": f"The stack {stack.name} has no service {service}."})
    with transaction.atomic():
        lock_names([LOCK])
        _demand_room(stack)
        session = TerminalSession.objects.create(stack=stack, service=service, user=user, user_name=user.get_username())
        audit(action="terminal.opened", target=_target(session), user=user, data={"session": str(session.pk)})
    try:
        queue.send(TASK, str(session.pk), expires=FETCHED_SECONDS)
    except (OperationalError, OSError):
        session_ended(session, End.LOST)
        remedy = "`python3 manage.py status` shows whether the portal's queue runs."
        raise OperationFailed("The worker could not be told.", code="worker_silent", remedy=remedy) from None
    return session


def _demand_room(stack: Stack) -> None:
    if not policy_get().enabled:
        remedy = "An administrator may switch them on."
        raise OperationRefused("Terminals are switched off.", code="terminal_off", remedy=remedy)
    if restoring(stack):
        raise OperationRefused(f"{stack.name} is being restored.", code="claimed", remedy="Wait until that ends.")
    if TerminalSession.objects.filter(ended_at=None).count() >= AT_ONCE:
        raise OperationRefused(f"{AT_ONCE} terminals are open already.", code="terminal_full", remedy="End one first.")


def restoring(stack: Stack) -> bool:
    """Whether a restore, or the undoing of one, has this stack to itself."""
    return Claim.objects.filter(scope=stack.target, mode=Mode.EXCLUSIVE, operation__kind__startswith="restore").exists()


def sessions_end(sessions: Iterable[TerminalSession], reason: End) -> None:
    """Tell the worker to end them. One whose worker is gone is ended by `sessions_tidy`."""
    for session in sessions:
        try:
            wire.end(session.pk, reason)
        except redis.RedisError as error:
            log.warning("terminal %s could not be told to end: %s", session.pk, error)


def session_close(session: TerminalSession, *, user: User) -> None:
    """End one on somebody's word, who need not be the one who opened it; mostly it has ended on return."""
    sessions_end([session], End.CLOSED)
    if session.user_id != user.pk:
        audit(action="terminal.closed", target=_target(session), user=user, data={"session": str(session.pk)})
    until = time.monotonic() + CLOSING_SECONDS
    while TerminalSession.objects.filter(pk=session.pk, ended_at=None).exists() and time.monotonic() < until:
        time.sleep(0.05)


def sessions_of_leaver_end(*, user: User | None, **_: Any) -> None:  # noqa: ANN401 - a signal's arguments
    """Whoever signs out leaves no terminal open."""
    if user is not None:
        sessions_end(TerminalSession.objects.filter(ended_at=None, user=user), End.ACCOUNT)


def session_ended(session: TerminalSession, reason: str, detail: str = "") -> bool:
    """Record the end, once; False when it was recorded before."""
    told = {"ended_at": timezone.now(), "reason": reason, "detail": detail[:300]}
    with transaction.atomic():
        if not TerminalSession.objects.filter(pk=session.pk, ended_at=None).update(**told):
            return False
        session.refresh_from_db()
        data = {"session": str(session.pk), "seconds": round(session.lasted.total_seconds()), "reason": reason}
        audit(action="terminal.ended", target=_target(session), user=session.user, data=data)
    return True


def sessions_tidy() -> None:
    """Close what a worker has left behind that is gone: the row, and what still runs in the service."""
    for session in TerminalSession.objects.filter(ended_at=None).select_related("stack", "user"):
        young = session.lasted < timedelta(seconds=FETCHED_SECONDS + wire.ALIVE_SECONDS)
        if young or wire.client().exists(wire.alive(session.pk)):
            continue
        try:
            places.runtime().end_terminal(places.stack_spec(session.stack.name), session.service, session.mark)
        except StackRuntimeError as fault:
            # What is left may not be out of reach for good; the next look is soon.
            log.warning("what terminal %s left could not be ended: %s", session.pk, fault.message)
        else:
            session_ended(session, End.LOST)


def _target(session: TerminalSession) -> str:
    return f"{session.stack.target}/{session.service}"
