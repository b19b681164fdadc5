"""A dead man's switch per plan: an address outside that is told of start, success and failure, and rings when it hears
nothing, so that a portal that is down is noticed too.

The address is called as healthchecks and its kin define it: `<address>/start`, `<address>`, `<address>/fail`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
from django.db.models import Q
from django.utils import timezone

from backups.secret import Secret
from portal.alarms.models import Ping
from portal.operations.models import Operation, State
from portal.vaults.models import Plan

log = logging.getLogger(__name__)

START, SUCCESS, FAILURE = "start", "success", "failure"
# What is older was told by nobody and interests nobody any more.
RECENT = timedelta(hours=24)
TIMEOUT = httpx.Timeout(10)
# After a call that did not arrive; doubled each time.
PAUSE = timedelta(seconds=10)
_ENDINGS = {START: "/start", SUCCESS: "", FAILURE: "/fail"}


def pings_send(*, now: datetime | None = None) -> int:
    """Tell every switch what it does not know yet; returns how many calls arrived."""
    moment = now or timezone.now()
    plans = Plan.objects.exclude(ping_url_file="").select_related("last_operation")
    return sum(
        _once(plan, run, about, moment) for plan in plans for run in _runs(plan, moment - RECENT) for about in _due(run)
    )


def _runs(plan: Plan, since: datetime) -> list[Operation]:
    """The backups of a plan, in their order; one that somebody started by hand is its own when it joined that one."""
    mine = Q(params__plan=plan.name) | Q(pk=plan.last_operation_id)
    runs = Operation.objects.filter(mine, kind="backup", parent=None, created_at__gt=since)
    return list(runs.order_by("created_at"))


def _due(run: Operation) -> list[str]:
    """What a run has to tell, in its order. A cancelled run is nobody's failure, and no success either."""
    told = [START] if run.started_at else []
    if run.state == State.SUCCEEDED:
        told.append(SUCCESS)
    elif run.state in (State.PARTIAL, State.FAILED, State.LOST):
        told.append(FAILURE)
    return told


def _once(plan: Plan, run: Operation, about: str, now: datetime) -> bool:
    """Call unless that was done or is not due again; only who raises `attempts` calls."""
    ping, _ = Ping.objects.get_or_create(plan=plan, operation=run, about=about)
    happened = (run.started_at if about == START else run.finished_at) or now
    if ping.sent_at or now - happened < PAUSE * (2**ping.attempts - 1):
        return False
    if not Ping.objects.filter(pk=ping.pk, attempts=ping.attempts).update(attempts=ping.attempts + 1):
        return False
    try:
        address = address_of(Secret.from_file(Path(plan.ping_url_file)).reveal(), about)
        httpx.post(address, content=_body(run), timeout=TIMEOUT).raise_for_status()
    except (OSError, ValueError, httpx.HTTPError) as error:
        # The address is a secret: whoever knows it can keep the switch quiet.
        log.warning("the switch of plan %s was not told of %s: %s", plan.name, about, type(error).__name__)
        return False
    Ping.objects.filter(pk=ping.pk).update(sent_at=timezone.now())
    return True


def address_of(url: str, about: str) -> str:
    """The address for start, success or failure; a query stays at the end."""
    parts = urlsplit(url.strip())
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + _ENDINGS[about]))


def _body(run: Operation) -> str:
    error: Mapping[str, str] = run.error or {}
    return " ".join(filter(None, (str(run.pk), run.state, error.get("message", ""), error.get("remedy", ""))))
