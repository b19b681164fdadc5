"""All stacks: the product's own, Compose projects of somebody else, and what runs here besides."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.core import places
from portal.operations.errors import InputInvalid, OperationError
from portal.runtime.errors import StackRuntimeError
from portal.stacks.models import ProjectKind
from portal.stacks.projects.selectors import running_rows, stack_rows
from portal.stacks.projects.services import Wanted, project_add
from portal.stacks.projects.sources import upload_keep
from portal.web.actions import refuse, start
from portal.web.forms_projects import KINDS, ProjectForm, UploadForm, form_of
from portal.web.pages import operators_only, page, user_of

Refused = (OperationError, StackRuntimeError)


@require_safe
def stacks(request: HttpRequest) -> HttpResponse:
    context = {"rows": stack_rows(), "running": running_rows(), "in_containers": places.in_containers()}
    return page(request, "stacks", context)


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def stack_add(request: HttpRequest) -> HttpResponse:
    """Add a project: the kind is chosen by links, so that each form asks for nothing that it does not need."""
    chosen = form_of(request.POST.get("kind") or request.GET.get("kind", ""))
    if request.method != "POST":
        return _form(request, chosen())
    form = chosen(request.POST, request.FILES)
    if form.is_valid() and (name := _added(request, form)):
        return start(request, "project.fetch", f"stack:{name}", {}, back="project", stack_name=name)
    return _form(request, form, status=422)


def _added(request: HttpRequest, form: ProjectForm) -> str:
    """The name of the stack that was added; empty when it was not, and the form says why."""
    wanted = form.wanted()
    try:
        project_add(wanted, token=form.secret(), user=user_of(request))
    except InputInvalid as refused:
        form.blame(refused)
        return ""
    except Refused as refused:
        form.add_error(None, f"{refused.message} {refused.remedy}".strip())
        return ""
    if isinstance(form, UploadForm):
        upload_keep(wanted.name, form.cleaned_data["upload"].chunks())
    return wanted.name


def _form(request: HttpRequest, form: ProjectForm, *, status: int = 200) -> HttpResponse:
    context = {"form": form, "kinds": KINDS, "in_containers": places.in_containers()}
    return page(request, "stacks/add", context, status=status)


@require_POST
@operators_only
def stack_adopt(request: HttpRequest) -> HttpResponse:
    """Take over a project that runs here, as it runs."""
    name = request.POST.get("project", "")
    try:
        project_add(Wanted(name, ProjectKind.ADOPTED), user=user_of(request))
    except Refused as refused:
        refuse(request, refused)
        return redirect("stacks")
    return start(request, "project.adopt", f"stack:{name}", {}, back="project", stack_name=name)
