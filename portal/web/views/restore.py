"""Restoring a set: what, where to and how; what it would change and the confirmation; undoing and keeping."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.operations.errors import OperationError
from portal.runtime.errors import StackRuntimeError
from portal.stacks.counts import stack_counts
from portal.stacks.models import Stack
from portal.vaults.models import BackupSet, Restore, SetState
from portal.vaults.restore_choice import Choice
from portal.vaults.restore_figures import estimate
from portal.vaults.restore_look import restore_look
from portal.web import preview
from portal.web.actions import start
from portal.web.forms_restore import ChoiceForm, NameForm
from portal.web.pages import operators_only, page
from portal.web.views.sets import set_or_404


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def set_restore(request: HttpRequest, set_id: str) -> HttpResponse:
    """Choose; with `look` in the address see what would change and confirm; posted, begin."""
    found = set_or_404(set_id)
    if found.state != SetState.COMPLETE or found.removed_at is not None:
        return page(request, "restore", {"set": found}, status=422 if request.method == "POST" else 200)
    if request.method == "POST":
        return _begin(request, found)
    looks = "look" in request.GET
    form = ChoiceForm(request.GET if looks else None, found)
    if looks and form.is_valid():
        return _look(request, found, form, NameForm(None, form.stack_name))
    return page(request, "restore", {"set": found, "form": form}, status=422 if looks else 200)


def _begin(request: HttpRequest, found: BackupSet) -> HttpResponse:
    form = ChoiceForm(request.POST, found)
    if not form.is_valid():
        return page(request, "restore", {"set": found, "form": form}, status=422)
    confirmation = NameForm(request.POST, form.stack_name)
    if form.exchanges and not confirmation.is_valid():
        return _look(request, found, form, confirmation, status=422)
    return start(request, form.kind, form.target, form.params, back="set-restore", set_id=found.pk)


def _look(
    request: HttpRequest, found: BackupSet, form: ChoiceForm, confirmation: NameForm, *, status: int = 200
) -> HttpResponse:
    given = request.GET if request.method == "GET" else request.POST
    query = given.copy()
    for name in ("csrfmiddlewaretoken", "name"):
        query.pop(name, None)
    context: dict[str, Any] = {
        "set": found,
        "form": form,
        "confirmation": confirmation,
        "query": query.urlencode(),
        "stack": form.stack_name,
        "params": form.params,
    }
    if form.exchanges:
        choice = Choice.read(form.target, form.params)
        context |= {
            "choice": choice,
            "stops": choice.scope.users,
            "estimate": estimate(choice),
            "rows": preview.rows(_counts_now(form.stack_name), found.counts) if choice.scope.data else [],
        }
    return page(request, "restore/look", context, status=status)


@require_safe
@operators_only
def set_preview(request: HttpRequest, set_id: str) -> HttpResponse:
    """Have the agent compare the set with the live stack, document by document; takes seconds."""
    found = set_or_404(set_id)
    form = ChoiceForm(request.GET, found)
    context: dict[str, Any] = {"set": found, "query": request.GET.urlencode()}
    if form.is_valid() and form.exchanges:
        try:
            context["report"] = report = restore_look(form.target, form.params)
            context["changes"] = preview.changes(report["preview"])
        except (OperationError, StackRuntimeError) as refused:
            context["fault"] = refused
    return page(request, "sets/preview", context)


@require_POST
@operators_only
def restore_undo(request: HttpRequest, restore_id: int) -> HttpResponse:
    return _settle(request, "restore.undo", restore_id)


@require_POST
@operators_only
def restore_keep(request: HttpRequest, restore_id: int) -> HttpResponse:
    return _settle(request, "restore.confirm", restore_id)


def _settle(request: HttpRequest, kind: str, restore_id: int) -> HttpResponse:
    found = get_object_or_404(Restore.objects.select_related("operation"), pk=restore_id)
    return start(request, kind, found.operation.target, {"restore": str(found.operation_id)}, back="dashboard")


def _counts_now(stack: str) -> dict[str, int]:
    found = Stack.objects.filter(name=stack).first()
    return (stack_counts(found) if found else None) or {}
