"""The stack: its services, starting and stopping them, and what they write."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.selectors import operation_list_active
from portal.stacks.models import Stack
from portal.stacks.selectors import stack_get_default, stack_logs, stack_services
from portal.web.actions import start
from portal.web.overview import health_of
from portal.web.pages import operators_only, page

DOWNLOAD_LINES = 20_000


class ActionForm(forms.Form):
    """What to do with the stack, or with one service of it."""

    action = forms.ChoiceField(choices=[(name, name) for name in ("start", "stop", "restart")])
    service = forms.SlugField(required=False)


class LogForm(forms.Form):
    """How much of a log, and which lines of it."""

    lines = forms.TypedChoiceField(
        choices=[(n, f"{n:,}") for n in (100, 200, 500, 2000)], coerce=int, empty_value=200, required=False
    )
    q = forms.CharField(required=False, max_length=200, strip=False, label="Only lines with")
    follow = forms.BooleanField(required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["lines"].widget.attrs["class"] = "input"
        self.fields["q"].widget.attrs |= {"class": "input", "type": "search"}


@require_safe
def stack(request: HttpRequest) -> HttpResponse:
    current = _stack()
    services = stack_services(current)
    context = {
        "stack": current,
        "services": services,
        "health": health_of([str(s.state) for s in services]),
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
    services = stack_services(_stack())
    lines = _lines(service, wanted.get("lines") or 200, services)
    context = {
        "service": next(s for s in services if s.name == service),
        "services": services,
        "form": form,
        "needle": needle,
        "follow": bool(wanted.get("follow")),
        "read": len(lines),
        "lines": [line for line in lines if needle.lower() in line.lower()],
    }
    return page(request, "stack/log", context)


@require_safe
@operators_only
def service_log_download(request: HttpRequest, service: str) -> HttpResponse:
    text = "\n".join(_lines(service, DOWNLOAD_LINES, stack_services(_stack())))
    disposition = {"Content-Disposition": f'attachment; filename="{service}.log"'}
    return HttpResponse(text + "\n", content_type="text/plain; charset=utf-8", headers=disposition)


def _lines(service: str, count: int, services: list[Any]) -> list[str]:
    """The tail of a service's log.

    Raises:
        Http404: the stack has no such service.
    """
    if service not in {s.name for s in services}:
        raise Http404(service)
    return list(stack_logs(_stack(), service, count))


def _stack() -> Stack:
    """The stack of this installation.

    Raises:
        Http404: nothing was set up yet.
    """
    try:
        return stack_get_default()
    except Stack.DoesNotExist:
        raise Http404("stack") from None
