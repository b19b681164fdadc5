"""The stack: its services, starting and stopping them."""

from __future__ import annotations

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.selectors import operation_list_active
from portal.web.actions import start
from portal.web.pages import operators_only, page
from portal.web.services import services_of, stack_or_404


class ActionForm(forms.Form):
    """What to do with the stack, or with one service of it."""

    action = forms.ChoiceField(choices=[(name, name) for name in ("start", "stop", "restart")])
    service = forms.SlugField(required=False)


@require_safe
def stack(request: HttpRequest) -> HttpResponse:
    current = stack_or_404()
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
    return start(request, f"stack.{form.cleaned_data['action']}", stack_or_404().target, params, back="stack")
