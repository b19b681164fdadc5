"""Where a further stack comes from: its files, what it needs, who may redeploy it, and its end."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from portal.operations.errors import OperationError
from portal.operations.selectors import operation_list_active
from portal.stacks.models import Project, ProjectKind
from portal.stacks.projects.hooks import hook_renew, hook_use
from portal.stacks.projects.reading import need_rows
from portal.stacks.projects.selectors import told, volumes_of
from portal.stacks.projects.services import demand_confirmed, project_allow, project_token
from portal.stacks.projects.sources import upload_keep
from portal.web.actions import refuse, start
from portal.web.forms_projects import RemoveForm, TokenForm, UpdateForm
from portal.web.pages import operators_only, page, user_of


@require_safe
def project(request: HttpRequest, stack_name: str) -> HttpResponse:
    return _page(request, _get(stack_name))


@require_POST
@operators_only
def update(request: HttpRequest, stack_name: str) -> HttpResponse:
    """Bring the files up to date from where they come from, or with those that were uploaded."""
    found = _get(stack_name)
    if found.kind == ProjectKind.UPLOAD:
        form = UpdateForm(request.POST, request.FILES)
        if not form.is_valid():
            return _page(request, found, {"update_form": form}, status=422)
        upload_keep(stack_name, form.cleaned_data["upload"].chunks())
    kind = "project.adopt" if found.kind == ProjectKind.ADOPTED else "project.fetch"
    return start(request, kind, found.stack.target, {}, back="project", stack_name=stack_name)


@require_POST
@operators_only
def allow(request: HttpRequest, stack_name: str) -> HttpResponse:
    """Agree to all that is listed; the one who agrees must type the stack's name."""
    try:
        project_allow(project=_get(stack_name), confirm=_typed(request), user=user_of(request))
        messages.success(request, f"{stack_name} may do what is listed; the next deploy goes ahead.")
    except OperationError as refused:
        refuse(request, refused)
    return _back(stack_name)


@require_POST
@operators_only
def hook(request: HttpRequest, stack_name: str) -> HttpResponse:
    """Make a new secret for the webhook, and show it this once."""
    found = _get(stack_name)
    try:
        secret = hook_renew(project=found, user=user_of(request)).reveal()
    except OperationError as refused:
        refuse(request, refused)
        return _back(stack_name)
    response = _page(request, found, {"secret": secret})
    response.headers["Cache-Control"] = "no-store"
    return response


@require_POST
@operators_only
def token(request: HttpRequest, stack_name: str) -> HttpResponse:
    """Take other credentials for the Git repository from now on."""
    form = TokenForm(request.POST)
    try:
        form.is_valid()
        project_token(project=_get(stack_name), token=form.cleaned_data.get("token", ""), user=user_of(request))
        messages.success(request, "Kept. The next update uses it.")
    except OperationError as refused:
        refuse(request, refused)
    return _back(stack_name)


@require_POST
@operators_only
def remove(request: HttpRequest, stack_name: str) -> HttpResponse:
    """Remove the stack; what goes with it was chosen, and its name typed."""
    found, form = _get(stack_name), RemoveForm(request.POST)
    try:
        demand_confirmed(stack_name, _typed(request))
    except OperationError as refused:
        refuse(request, refused)
        return _back(stack_name)
    params = form.params if form.is_valid() else {}
    return start(request, "project.remove", found.stack.target, params, back="project", stack_name=stack_name)


def _get(name: str) -> Project:
    """Raises: Http404: no further stack is called so."""
    return get_object_or_404(Project.objects.select_related("stack"), stack__name=name)


def _typed(request: HttpRequest) -> str:
    return request.POST.get("name", "").strip()


def _back(name: str) -> HttpResponse:
    return redirect(reverse("project", kwargs={"stack_name": name}))


def _page(
    request: HttpRequest, found: Project, more: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    needs = need_rows(found.stack)
    context = {
        "stack": found.stack,
        "project": found,
        "fault": told(found.fault),
        "needs": needs,
        "open_needs": sum(not need["granted"] for need in needs),
        "active": [o for o in operation_list_active() if o.target == found.stack.target],
        "volumes": volumes_of(found.stack),
        "hook": hook_use(found),
        "hook_address": request.build_absolute_uri(reverse("hook", kwargs={"name": found.stack.name})),
        "update_form": UpdateForm(),
        "token_form": TokenForm(),
        **(more or {}),
    }
    return page(request, "stacks/project", context, status=status)
