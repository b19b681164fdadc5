"""The sources of the stack: what every set holds, and what was added to it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.errors import InputInvalid, OperationError, OperationRefused
from portal.vaults.models import ExtraSource
from portal.vaults.sources import source_add, source_remove, source_rows, source_test
from portal.web.actions import refuse
from portal.web.forms_sources import FORMS, SourceForm
from portal.web.pages import operators_only, page, user_of
from portal.web.services import stack_or_404


@require_safe
def sources(request: HttpRequest) -> HttpResponse:
    return _page(request, None)


@require_POST
@operators_only
def source_new(request: HttpRequest) -> HttpResponse:
    """Try a source out and add it; lands on the list, or on the form with what is wrong."""
    form_class = FORMS.get(request.POST.get("kind", ""))
    if form_class is None:
        return redirect("sources")
    form = form_class(request.POST)
    if form.is_valid() and _added(request, form):
        messages.success(request, f"The source {form.cleaned_data['name']} is part of the next set.")
        return redirect("sources")
    return _page(request, form, status=422)


@require_POST
@operators_only
def source_try(request: HttpRequest, source: str) -> HttpResponse:
    row = _get(source)
    try:
        tried = source_test(source=row)
    except OperationError as failed:
        messages.error(request, f"{row.name} could not be tried out. {failed.message} {failed.remedy}".strip())
        return redirect("sources")
    if tried.ok:
        messages.success(request, f"{row.name} is as a backup needs it.")
    else:
        messages.error(request, f"{tried.message} {tried.remedy}".strip())
    return redirect("sources")


@require_POST
@operators_only
def source_delete(request: HttpRequest, source: str) -> HttpResponse:
    row = _get(source)
    try:
        source_remove(source=row, confirm=request.POST.get("name", "").strip(), user=user_of(request))
    except OperationRefused as refused:
        refuse(request, refused)
    else:
        messages.success(request, f"{source} is left out of further sets. What sets hold of it stays in them.")
    return redirect("sources")


def _added(request: HttpRequest, form: SourceForm) -> bool:
    try:
        source_add(
            stack=stack_or_404().name,
            name=form.cleaned_data["name"],
            kind=form.kind,
            user=user_of(request),
            **form.values(),
        )
    except InputInvalid as invalid:
        for name, sentence in invalid.fields.items():
            form.add_error(name if name in form.fields else None, sentence)
        return False
    except OperationError as failed:
        form.add_error(None, f"{failed.message} {failed.remedy}".strip())
        return False
    return True


def _page(request: HttpRequest, form: SourceForm | None, *, status: int = 200) -> HttpResponse:
    stack = stack_or_404()
    forms = [form if form and form.kind == kind else made() for kind, made in FORMS.items()]
    context: dict[str, Any] = {
        "stack": stack,
        "rows": source_rows(stack=stack.name),
        "forms": [{"form": one, "open": one is form} for one in forms],
    }
    return page(request, "sources", context, status=status)


def _get(name: str) -> ExtraSource:
    return get_object_or_404(ExtraSource, stack=stack_or_404().name, name=name)
