"""Backup sets: the list, one of them, taking, proving, verifying, labelling, pinning and deleting."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.errors import OperationRefused
from portal.vaults.models import BackupSet
from portal.vaults.selectors import plan_default, set_get, set_last_good
from portal.vaults.setlist import set_choices, set_timeline, sets_filtered
from portal.vaults.sets import set_delete, set_delete_obstacle, set_note, set_pin, set_tag, set_verify
from portal.web.actions import refuse, start
from portal.web.forms_sets import DeleteForm, FilterForm, NoteForm
from portal.web.pages import operators_only, page, user_of
from portal.web.setparts import parts

PER_PAGE = 25


@require_safe
def sets(request: HttpRequest) -> HttpResponse:
    form = FilterForm(request.GET, set_choices())
    wanted = form.wanted()
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        "page": Paginator(sets_filtered(wanted), PER_PAGE).get_page(request.GET.get("page")),
        "form": form,
        "wanted": wanted,
        "query": query.urlencode(),
        "narrowed": any(query.values()),
        "timeline": set_timeline(stack=wanted.stack),
        "last_good": set_last_good(),
        "plan": plan_default(),
    }
    return page(request, "sets", context)


@require_safe
def set_one(request: HttpRequest, set_id: str) -> HttpResponse:
    return _one(request, set_or_404(set_id))


def _one(
    request: HttpRequest, found: BackupSet, *, note: NoteForm | None = None, delete: DeleteForm | None = None
) -> HttpResponse:
    context: dict[str, Any] = {
        "set": found,
        "parts": parts(found),
        "copies": found.copies.select_related("repository"),
        "drills": found.drills.all()[:5],
        "restores": found.restores.all()[:5],
        "note_form": note or NoteForm(initial={"tags": ", ".join(found.tags), "note": found.note}),
        "delete_form": delete or DeleteForm(None, found),
        "obstacle": set_delete_obstacle(found),
    }
    refused = any(form and form.errors for form in (note, delete))
    return page(request, "sets/one", context, status=422 if refused else 200)


@require_POST
@operators_only
def set_label(request: HttpRequest, set_id: str) -> HttpResponse:
    """Store tags and note of a set."""
    found, form = set_or_404(set_id), NoteForm(request.POST)
    if not form.is_valid():
        return _one(request, found, note=form)
    tags = form.cleaned_data["tags"]
    set_note(found=found, note=form.cleaned_data["note"], user=user_of(request))
    set_tag(found=found, add=tags, remove=set(found.tags) - set(tags), user=user_of(request))
    messages.success(request, "Tags and note are stored.")
    return redirect("set", set_id=set_id)


@require_POST
@operators_only
def set_pinned(request: HttpRequest, set_id: str) -> HttpResponse:
    """Pin the set when the form says `pinned=yes`, else unpin it."""
    try:
        set_pin(found=set_or_404(set_id), pinned=request.POST.get("pinned") == "yes", user=user_of(request))
    except OperationRefused as refused:
        refuse(request, refused)
    return redirect("set", set_id=set_id)


@require_POST
@operators_only
def verify_now(request: HttpRequest, set_id: str) -> HttpResponse:
    try:
        operation = set_verify(found=set_or_404(set_id), user=user_of(request))
    except OperationRefused as refused:
        refuse(request, refused)
        return redirect("set", set_id=set_id)
    return redirect("operation", operation_id=operation.pk)


@require_POST
@operators_only
def set_remove(request: HttpRequest, set_id: str) -> HttpResponse:
    """Delete the set from its repository, once its id was typed."""
    found = set_or_404(set_id)
    form = DeleteForm(request.POST, found)
    if not form.is_valid():
        return _one(request, found, delete=form)
    try:
        operation = set_delete(found=found, user=user_of(request))
    except OperationRefused as refused:
        refuse(request, refused)
        return redirect("set", set_id=set_id)
    return redirect("operation", operation_id=operation.pk)


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
