"""Deploying, the list of releases, what two of them differ in, and rolling back."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
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
from portal.stacks.selectors import stack_get_default
from portal.stacks.updates.selectors import updates_of
from portal.web.actions import refuse, start
from portal.web.forms_releases import CompareForm, DeployForm, RollbackForm
from portal.web.pages import operators_only, page, user_of


@require_safe
@operators_only
def deploy(request: HttpRequest) -> HttpResponse:
    """Look at what a deploy would do; `plan` in the address names the look that was asked for."""
    stack = _stack()
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
def deploy_look(request: HttpRequest) -> HttpResponse:
    """Have the worker compare what runs with what is described."""
    try:
        look = operation_start(kind="stack.plan", target=_stack().target, user=user_of(request))
    except OperationError as refused:
        refuse(request, refused)
        return redirect("deploy")
    return redirect(f"{reverse('deploy')}?plan={look.pk}")


@require_POST
@operators_only
def deploy_begin(request: HttpRequest) -> HttpResponse:
    form = DeployForm(request.POST)
    if not form.is_valid():
        context = {"stack": _stack(), "form": form, "current": release_current(_stack())}
        return page(request, "deploy", context, status=422)
    return start(request, "stack.deploy", _stack().target, form.params, back="deploy")


@require_safe
def releases(request: HttpRequest) -> HttpResponse:
    stack = _stack()
    found = releases_of(stack)
    form = CompareForm(None, [release.number for release in found])
    return page(request, "releases", {"stack": stack, "releases": found, "form": form})


@require_safe
def release_compare(request: HttpRequest) -> HttpResponse:
    found = {release.number: release for release in releases_of(_stack())}
    form = CompareForm(request.GET, list(found))
    context: dict[str, Any] = {"form": form}
    if form.is_valid():
        before, after = found[form.cleaned_data["a"]], found[form.cleaned_data["b"]]
        context |= {"before": before, "after": after, "diff": release_diff(before, after)}
    return page(request, "releases/compare", context)


@require_safe
def release_one(request: HttpRequest, number: int) -> HttpResponse:
    found = _release(number)
    earlier = found.stack.releases.filter(number__lt=number, deployed_at__isnull=False).order_by("-number").first()
    context = {
        "release": found,
        "earlier": earlier,
        "diff": release_diff(earlier, found) if earlier else None,
    }
    return page(request, "releases/one", context)


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def roll_back(request: HttpRequest, number: int) -> HttpResponse:
    """What a roll-back would change, and the choice between code, and code and data; posted, begin."""
    found = _release(number)
    code, data = way_of_code(found), way_of_data(found)
    form = RollbackForm(request.POST or None, code=not code.obstacle, with_data=not data.obstacle)
    if request.method == "POST" and form.is_valid():
        params = {"release": number, **form.params}
        return start(request, "stack.rollback", found.stack.target, params, back="roll-back", number=number)
    current = release_current(found.stack)
    context = {
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


def _release(number: int) -> Release:
    """Raises: Http404: the stack has no such release."""
    return get_object_or_404(Release.objects.select_related("stack", "operation"), stack=_stack(), number=number)


def _stack() -> Stack:
    """Raises: Http404: nothing was set up yet."""
    try:
        return stack_get_default()
    except Stack.DoesNotExist:
        raise Http404("stack") from None
