"""A stack: its services, starting and stopping them. The product's own has no name in its addresses."""

from __future__ import annotations

from datetime import timedelta

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from portal.core import places
from portal.operations.selectors import operation_list_active
from portal.stacks.models import Stack
from portal.stacks.projects.reading import not_granted
from portal.stacks.projects.selectors import told
from portal.stacks.updates.selectors import updates_of
from portal.watch.selectors import usage
from portal.web.actions import start
from portal.web.charts import Chart, charts
from portal.web.pages import operators_only, page
from portal.web.services import at, services_of, stack_or_404

ACTIONS = ("start", "stop", "restart", "recreate", "scale")
CURVES = timedelta(hours=1)
ENTRANCE = "nginx"


class ActionForm(forms.Form):
    """What to do with the stack, or with one service of it."""

    action = forms.ChoiceField(choices=[(name, name) for name in ACTIONS])
    service = forms.SlugField(required=False)
    instances = forms.IntegerField(required=False)


@require_safe
def stack(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    current = stack_or_404(stack_name)
    project = getattr(current, "project", None)
    context = {
        "stack": current,
        "project": project,
        "fault": told(project.fault) if project else "",
        "not_granted": not_granted(project) if project else [],
        "services": services_of(current),
        "curves": _curves(current),
        "features": places.runtime().features,
        "updates": updates_of(current),
        "active": [o for o in operation_list_active() if o.target == current.target],
    }
    return page(request, "stack", context)


@require_POST
@operators_only
def stack_act(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    """Start, stop, restart, recreate or scale; lands on the operation's page, or back with the reason why not."""
    form = ActionForm(request.POST)
    if not form.is_valid():
        return redirect(reverse("stack", kwargs=at(stack_name)))
    given = form.cleaned_data
    params = {name: given[name] for name in ("service", "instances") if given[name]}
    if given["action"] == "stop" and not given["service"] and not stack_name:
        # Whoever clicks came through the entrance, and wants to click again.
        params["keep"] = [ENTRANCE]
    target = stack_or_404(stack_name).target
    return start(request, f"stack.{given['action']}", target, params, back="stack", **at(stack_name))


def _curves(stack: Stack) -> dict[str, list[Chart]]:
    """Processor and memory of the last hour, by service."""
    now = timezone.now()
    begin = now - CURVES
    found = usage(stack, since=begin)
    return {name: charts(points, begin=begin.timestamp(), end=now.timestamp())[:2] for name, points in found.items()}
