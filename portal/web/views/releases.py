"""Deploying, the list of releases, what two of them differ in, and rolling back."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.operations.errors import OperationError
from portal.operations.models import Operation
from portal.operations.services import operation_start
from portal.stacks.diff import release_diff
from portal.stacks.models import Release, Stack
from portal.stacks.release_list import releases_of, way_of_code, way_of_data
from portal.stacks.releases import release_current
from portal.stacks.updates.selectors import updates_of
from portal.web.actions import refuse, start
from portal.web.forms_releases import CompareForm, DeployForm, RollbackForm
from portal.web.pages import operators_only, page, user_of
from portal.web.services import at, stack_or_404


@require_safe
@operators_only
def deploy(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    """Look at what a deploy would do; `plan` in the address names the look that was asked for."""
    stack = stack_or_404(stack_name)
    look = _look_of(request, stack)
    context = {
        "stack": stack,
        "look": look,
        "plan": look.result.get("plan") if look and look.is_finished else None,
        "current": release_current(stack),
        "form": DeployForm(),
        "updates": updates_of(stack),
    }
    # 286 makes htmx swap once more and then stop polling.
    over = look is not None and look.is_finished and request.headers.get("HX-Request") == "true"
    return page(request, "deploy", context, status=286 if over else 200)


@require_POST
@operators_only
def deploy_look(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    """Have the worker compare what runs with what is described."""
    try:
        look = operation_start(kind="stack.plan", target=stack_or_404(stack_name).target, user=user_of(request))
    except OperationError as refused:
        refuse(request, refused)
        return redirect(reverse("deploy", kwargs=at(stack_name)))
    return redirect(f"{reverse('deploy', kwargs=at(stack_name))}?plan={look.pk}")


@require_POST
@operators_only
def deploy_begin(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    stack, form = stack_or_404(stack_name), DeployForm(request.POST)
    if not form.is_valid():
        context = {"stack": stack, "form": form, "current": release_current(stack)}
        return page(request, "deploy", context, status=422)
    return start(request, "stack.deploy", stack.target, form.params, back="deploy", **at(stack_name))


@require_safe
def releases(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    stack = stack_or_404(stack_name)
    found = releases_of(stack)
    form = CompareForm(None, [release.number for release in found])
    return page(request, "releases", {"stack": stack, "releases": found, "form": form})


@require_safe
def release_compare(request: HttpRequest, stack_name: str = "") -> HttpResponse:
    stack = stack_or_404(stack_name)
    found = {release.number: release for release in releases_of(stack)}
    form = CompareForm(request.GET, list(found))
    context: dict[str, Any] = {"stack": stack, "form": form}
    if form.is_valid():
        before, after = found[form.cleaned_data["a"]], found[form.cleaned_data["b"]]
        context |= {"before": before, "after": after, "diff": release_diff(before, after)}
    return page(request, "releases/compare", context)


@require_safe
def release_one(request: HttpRequest, number: int, stack_name: str = "") -> HttpResponse:
    found = _release(number, stack_name)
    earlier = found.stack.releases.filter(number__lt=number, deployed_at__isnull=False).order_by("-number").first()
    context = {
        "stack": found.stack,
        "release": found,
        "earlier": earlier,
        "diff": release_diff(earlier, found) if earlier else None,
    }
    return page(request, "releases/one", context)


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def roll_back(request: HttpRequest, number: int, stack_name: str = "") -> HttpResponse:
    """What a roll-back would change, and the choice between code, and code and data; posted, begin."""
    found = _release(number, stack_name)
    code, data = way_of_code(found), way_of_data(found)
    form = RollbackForm(request.POST or None, code=not code.obstacle, with_data=not data.obstacle)
    if request.method == "POST" and form.is_valid():
        params = {"release": number, **form.params}
        there: dict[str, str | int] = {"number": number, **at(stack_name)}
        return start(request, "stack.rollback", found.stack.target, params, back="roll-back", **there)
    current = release_current(found.stack)
    context = {
        "stack": found.stack,
        "release": found,
        "current": current,
        "code": code,
        "data": data,
        "form": form,
        "diff": release_diff(current, found) if current else None,
    }
    return page(request, "releases/rollback", context, status=422 if request.method == "POST" else 200)


def _look_of(request: HttpRequest, stack: Stack) -> Operation | None:
    wanted = request.GET.get("plan", "")
    looks = Operation.objects.filter(kind="stack.plan", target=stack.target)
    return next((look for look in looks.order_by("-created_at")[:50] if str(look.pk) == wanted), None)


def _release(number: int, stack_name: str) -> Release:
    """Raises: Http404: there is no such stack, or it has no such release."""
    found = Release.objects.select_related("stack", "operation")
    return get_object_or_404(found, stack=stack_or_404(stack_name), number=number)
