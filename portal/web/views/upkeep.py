"""Looking after a repository: how it is, what can be done, and how it shall be done."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.errors import OperationRefused
from portal.vaults.care import repository_care
from portal.vaults.models import Repository
from portal.vaults.upkeep_selectors import UpkeepView, upkeep_get
from portal.web.actions import refuse, start
from portal.web.forms_upkeep import CareForm
from portal.web.pages import operators_only, page, user_of

ACTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "check": ("repository.check", {}),
    "measure": ("repository.stats", {}),
    "copy": ("repository.copy", {}),
    "unlock": ("repository.unlock", {}),
    "prune": ("repository.prune", {}),
}
# What rewrites or replaces the repository: its name has to be typed.
CONFIRMED: dict[str, tuple[str, dict[str, Any]]] = {
    "prune-full": ("repository.prune", {"full_disk": True}),
    "prune-recover": ("repository.prune", {"recover": True}),
    "repair": ("repository.repair", {}),
    "repair-sets": ("repository.repair", {"snapshots": True}),
    "change-key": ("repository.rekey", {}),
}


@require_safe
def upkeep(request: HttpRequest, repository: str) -> HttpResponse:
    view = _get(repository)
    return page(request, "repositories/upkeep", {"upkeep": view, "form": CareForm(row=view.row)})


@require_POST
@operators_only
def upkeep_act(request: HttpRequest, repository: str) -> HttpResponse:
    """Start one of the operations; for those that rewrite the repository its name must have been typed."""
    row, action = _get(repository).row, request.POST.get("action", "")
    if action in CONFIRMED and request.POST.get("name", "").strip() != row.name:
        messages.error(request, f"Nothing was done: type {row.name} to go on.")
        return redirect("upkeep", repository=row.name)
    chosen = {**ACTIONS, **CONFIRMED}.get(action)
    if chosen is None:
        raise Http404("action")
    kind, params = chosen
    given = {**params, **_given(request, kind)}
    return start(request, kind, row.scope, given, back="upkeep", repository=row.name)


def _given(request: HttpRequest, kind: str) -> dict[str, Any]:
    if kind == "repository.repair":
        return {"copied_aside": request.POST.get("copied_aside") == "yes"}
    url = request.POST.get("url", "").strip()
    return {"url": url} if kind == "repository.rekey" and url else {}


@require_POST
@operators_only
def upkeep_care(request: HttpRequest, repository: str) -> HttpResponse:
    """Change how the repository is looked after."""
    view = _get(repository)
    form = CareForm(request.POST, row=view.row)
    if form.is_valid():
        try:
            changed = repository_care(repository=view.row, care=form.care(), user=user_of(request))
            messages.success(request, "Saved." if changed else "Nothing was different.")
        except OperationRefused as refused:
            refuse(request, refused)
        return redirect("upkeep", repository=repository)
    return page(request, "repositories/upkeep", {"upkeep": view, "form": form}, status=422)


def _get(name: str) -> UpkeepView:
    """Raises: Http404: there is no such repository."""
    try:
        return upkeep_get(name)
    except Repository.DoesNotExist:
        raise Http404("repository") from None
