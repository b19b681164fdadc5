"""Backup sets: the list, one of them, taking and proving."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from portal.vaults.models import BackupSet
from portal.vaults.selectors import plan_default, set_get, set_last_good
from portal.web.actions import start
from portal.web.pages import operators_only, page

PER_PAGE = 25


@require_safe
def sets(request: HttpRequest) -> HttpResponse:
    rows = BackupSet.objects.select_related("repository")
    context = {
        "page": Paginator(rows, PER_PAGE).get_page(request.GET.get("page")),
        "last_good": set_last_good(),
        "plan": plan_default(),
    }
    return page(request, "sets", context)


@require_safe
def set_one(request: HttpRequest, set_id: str) -> HttpResponse:
    found = set_or_404(set_id)
    context = {"set": found, "drills": found.drills.all()[:5], "restores": found.restores.all()[:5]}
    return page(request, "sets/one", context)


@require_POST
@operators_only
def backup_now(request: HttpRequest) -> HttpResponse:
    plan = plan_default()
    if plan is None:
        raise Http404("plan")
    return start(request, "backup", f"stack:{plan.stack}", {}, back="sets")


@require_POST
@operators_only
def drill_now(request: HttpRequest) -> HttpResponse:
    """Prove a set by a drill: the one named in the form, else the last good one."""
    found = set_or_404(request.POST["set"]) if request.POST.get("set") else set_last_good()
    if found is None:
        raise Http404("set")
    return start(request, "drill", f"stack:{found.stack}", {"set": found.pk}, back="set", set_id=found.pk)


def set_or_404(set_id: str) -> BackupSet:
    """Raises: Http404: there is no such set."""
    try:
        return set_get(set_id)
    except BackupSet.DoesNotExist:
        raise Http404("set") from None
