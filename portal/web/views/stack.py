"""The stack: its services, starting and stopping them, and what they write."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.selectors import operation_list_active
from portal.runtime.errors import StackRuntimeError, UnknownServiceError
from portal.stacks.models import Stack
from portal.stacks.selectors import stack_get_default, stack_logs
from portal.web.actions import start
from portal.web.pages import operators_only, page
from portal.web.services import services_of

DOWNLOAD_LINES = 20_000


class ActionForm(forms.Form):
    """What to do with the stack, or with one service of it."""

    action = forms.ChoiceField(choices=[(name, name) for name in ("start", "stop", "restart")])
    service = forms.SlugField(required=False)


class LogForm(forms.Form):
    """How much of a log, and which lines of it."""

    lines = forms.TypedChoiceField(choices=[(n, f"{n:,}") for n in (100, 200, 500, 2000)], coerce=int, required=False)
    q = forms.CharField(
        required=False,
        max_length=200,
        strip=False,
        label="Only lines with",
        widget=forms.TextInput(attrs={"type": "search"}),
    )
    follow = forms.BooleanField(required=False)


@require_safe
def stack(request: HttpRequest) -> HttpResponse:
    current = _stack()
    context = {
        "stack": current,
        "services": services_of(current),
        "active": [o for o in operation_list_active() if o.target == current.target],
    }
    return page(request, "stack", context)


@require_POST
@operators_only
def stack_act(request: HttpRequest) -> HttpResponse:
    """Start, stop or restart; lands on the operation's page, or back with the reason why not."""
    form = ActionForm(request.POST)
    if not form.is_valid():
        return redirect("stack")
    service = form.cleaned_data["service"]
    params = {"service": service} if service else {}
    return start(request, f"stack.{form.cleaned_data['action']}", _stack().target, params, back="stack")


@require_safe
@operators_only
def service_log(request: HttpRequest, service: str) -> HttpResponse:
    form = LogForm(request.GET)
    wanted: dict[str, Any] = form.cleaned_data if form.is_valid() else {}
    needle = wanted.get("q", "")
    lines, fault = _lines(service, wanted.get("lines") or 200)
    context = {
        "service": service,
        "services": services_of(_stack()).rows,
        "form": form,
        "needle": needle,
        "follow": bool(wanted.get("follow")),
        "read": len(lines),
        "lines": [line for line in lines if needle.lower() in line.lower()],
        "fault": fault,
    }
    return page(request, "stack/log", context)


@require_safe
@operators_only
def service_log_download(request: HttpRequest, service: str) -> HttpResponse:
    lines, _ = _lines(service, DOWNLOAD_LINES)
    disposition = {"Content-Disposition": f'attachment; filename="{service}.log"'}
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; charset=utf-8", headers=disposition)


def _lines(service: str, count: int) -> tuple[list[str], StackRuntimeError | None]:
    """The tail of a service's log, or why it cannot be read.

    Raises:
        Http404: the stack has no such service.
    """
    try:
        return stack_logs(_stack(), service, lines=count), None
    except UnknownServiceError:
        raise Http404(service) from None
    except StackRuntimeError as fault:
        return [], fault


def _stack() -> Stack:
    """The stack of this installation.

    Raises:
        Http404: nothing was set up yet.
    """
    try:
        return stack_get_default()
    except Stack.DoesNotExist:
        raise Http404("stack") from None
