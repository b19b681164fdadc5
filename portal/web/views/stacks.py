"""All stacks: the product's own, and Compose projects of somebody else."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.errors import OperationError
from portal.stacks.projects.selectors import running_rows, stack_rows
from portal.stacks.projects.services import project_allow, project_get
from portal.web.actions import refuse, start
from portal.web.pages import operators_only, page, user_of

ACTIONS = {"update": "project.fetch", "deploy": "stack.deploy", "start": "stack.start", "stop": "stack.stop"}


@require_safe
def stacks(request: HttpRequest) -> HttpResponse:
    return page(request, "stacks", {"rows": stack_rows(), "running": running_rows()})


@require_POST
@operators_only
def stacks_act(request: HttpRequest, name: str) -> HttpResponse:
    """Fetch, deploy, start or stop a project, or agree to what it needs; lands on the operation, or on the list."""
    try:
        project = project_get(name)
        if request.POST.get("action") == "allow":
            project_allow(project=project, confirm=request.POST.get("name", "").strip(), user=user_of(request))
            messages.success(request, f"{name} may do what is listed; the next deploy goes ahead.")
            return redirect("stacks")
    except OperationError as refused:
        refuse(request, refused)
        return redirect("stacks")
    kind = ACTIONS.get(request.POST.get("action", ""))
    return start(request, kind, project.stack.target, {}, back="stacks") if kind else redirect("stacks")
