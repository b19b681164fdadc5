"""Terminals: switching them on, opening, ending; the page of one."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import redis
from django import forms
from django.contrib import messages
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, QueryDict
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.errors import InputInvalid, OperationError
from portal.stacks.models import Stack
from portal.terminal import services, wire
from portal.terminal.models import TerminalSession
from portal.terminal.selectors import session_list_ended, session_list_open
from portal.web import throttle
from portal.web.actions import refuse
from portal.web.pages import operators_only, page, user_of
from portal.web.services import services_of, stack_or_404

ENTRY = re.compile(r"\d{1,16}-\d{1,16}")
LONGEST_TEXT = 32_768
ROWS, COLUMNS = range(2, 501), range(8, 1001)


class PolicyForm(forms.Form):
    """Whether terminals may be opened."""

    enabled = forms.BooleanField(required=False, label="Allow terminals")
    idle_minutes = forms.IntegerField(
        label="End one in which nothing was typed for so many minutes",
        min_value=1,
        max_value=services.LONGEST_IDLE_MINUTES,
    )


class OpenForm(forms.Form):
    """Where to open one, and the password once more."""

    service = forms.ChoiceField(label="Service")
    password = forms.CharField(
        label="Your password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, request: HttpRequest, names: list[str], data: QueryDict | None = None) -> None:
        super().__init__(data)
        self._request = request
        self.fields["service"] = forms.ChoiceField(label="Service", choices=[(name, name) for name in names])

    def clean_password(self) -> str:
        """Ask for it as at the sign-in, with the same limits to guessing."""
        name, address = user_of(self._request).get_username(), throttle.address_of(self._request)
        throttle.check(name=name, address=address)
        password = str(self.cleaned_data["password"])
        if authenticate(self._request, username=name, password=password) is None:
            throttle.failed(name=name, address=address)
            raise ValidationError("That is not your password.")
        return password


@require_safe
@operators_only
def terminal(request: HttpRequest) -> HttpResponse:
    """Which are open and which were, and whether they are allowed."""
    current = stack_or_404()
    return _page(request, current, OpenForm(request, _names(current)))


@require_POST
@operators_only
def terminal_policy(request: HttpRequest) -> HttpResponse:
    """Allow terminals or forbid them."""
    form = PolicyForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"Give a number of minutes from 1 to {services.LONGEST_IDLE_MINUTES}.")
        return redirect("terminal")
    try:
        policy = services.policy_change(user=user_of(request), **form.cleaned_data)
    except InputInvalid as refused:
        refuse(request, refused)
    else:
        messages.success(request, "Terminals are allowed." if policy.enabled else "Terminals are switched off.")
    return redirect("terminal")


@require_POST
@operators_only
def terminal_open(request: HttpRequest) -> HttpResponse:
    """Open one, for whoever knows the password of the account that asks."""
    current = stack_or_404()
    form = OpenForm(request, _names(current), request.POST)
    if not form.is_valid():
        return _page(request, current, form, status=422)
    try:
        made = services.session_open(stack=current, service=form.cleaned_data["service"], user=user_of(request))
    except OperationError as refused:
        refuse(request, refused)
        return redirect("terminal")
    return redirect("terminal-session", session_id=made.pk)


@require_safe
@operators_only
def terminal_session(request: HttpRequest, session_id: uuid.UUID) -> HttpResponse:
    """The screen of one; whoever opened it sees it, and nobody else."""
    found = own_session(request, session_id)
    context = {"stack": found.stack, "session": found, "until": _newest(found)}
    return page(request, "terminal/one", context)


@require_POST
@operators_only
def terminal_send(request: HttpRequest, session_id: uuid.UUID) -> HttpResponse:
    """Keys, a size, and how far the page is with what it was sent: JSON with any of `text`, `size`, `seen`."""
    found = own_session(request, session_id)
    if found.ended_at is not None:
        return HttpResponse(status=410)
    item = _item(request.body)
    if item is None:
        return HttpResponseBadRequest("expected text, size [rows, columns] or seen")
    try:
        wire.send(found.pk, item)
    except wire.Full:
        return HttpResponse(status=429)
    except redis.RedisError:
        return HttpResponse(status=503)
    return HttpResponse(status=204)


@require_POST
@operators_only
def terminal_end(request: HttpRequest, session_id: uuid.UUID) -> HttpResponse:
    """End one; every administrator may end every one."""
    found = TerminalSession.objects.filter(pk=session_id, ended_at=None).first()
    if found is not None:
        services.session_close(found, user=user_of(request))
    return redirect("terminal")


def own_session(request: HttpRequest, session_id: uuid.UUID) -> TerminalSession:
    """A session of the one who asks.

    Raises:
        Http404: there is none, or it is somebody else's.
    """
    found = TerminalSession.objects.select_related("stack").filter(pk=session_id, user=user_of(request)).first()
    if found is None:
        raise Http404("There is no such terminal of yours.")
    return found


def _names(stack: Stack) -> list[str]:
    return [row.name for row in services_of(stack).rows]


def _page(request: HttpRequest, stack: Stack, form: OpenForm, *, status: int = 200) -> HttpResponse:
    policy = services.policy_get()
    context = {
        "stack": stack,
        "policy": policy,
        "policy_form": PolicyForm(initial={"enabled": policy.enabled, "idle_minutes": policy.idle_minutes}),
        "form": form,
        "open": session_list_open(stack),
        "ended": session_list_ended(stack),
        "at_once": services.AT_ONCE,
        "gone_seconds": wire.READER_SECONDS,
    }
    return page(request, "terminal", context, status=status)


def _newest(session: TerminalSession) -> str:
    """The last of what was written before this page was made: what it asks of the terminal was answered then."""
    try:
        found: Any = wire.client().xrevrange(wire.output(session.pk), count=1)
    except redis.RedisError:
        return wire.NOTHING
    return found[0][0].decode() if found else wire.NOTHING


def _item(body: bytes) -> dict[str, Any] | None:
    """What the page sent, with nothing in it that the worker does not expect; None when it makes no sense."""
    try:
        told = json.loads(body)
        text, size, seen = told.get("text", ""), told.get("size"), told.get("seen", "")
        fits = isinstance(text, str) and len(text) <= LONGEST_TEXT and (not seen or ENTRY.fullmatch(seen))
        rows, columns = size or (ROWS[0], COLUMNS[0])
        if not fits or rows not in ROWS or columns not in COLUMNS:
            return None
    except (ValueError, TypeError, AttributeError):
        return None
    return {"text": text, "size": [int(rows), int(columns)] if size else None, "seen": seen}
