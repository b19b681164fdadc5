"""What registries have of the stack's images: asked of them by the worker, shown from the database."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from portal.stacks.updates.services import KIND, updates_switch
from portal.web.actions import start
from portal.web.pages import operators_only, user_of
from portal.web.services import at, stack_or_404


@require_POST
@operators_only
def updates_look(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    """Have the worker ask the registries now."""
    return start(request, KIND, stack_or_404(stack_name).target, {}, back="stack", **at(stack_name))


@require_POST
@operators_only
def updates_daily(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    """Have them asked once a day, or only on demand."""
    daily = request.POST.get("daily") == "on"
    updates_switch(stack=stack_or_404(stack_name), daily=daily, user=user_of(request))
    told = "Registries are asked once a day." if daily else "Registries are asked only when somebody wants it."
    messages.success(request, told)
    return redirect(reverse("stack", kwargs=at(stack_name)))
