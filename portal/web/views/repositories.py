"""Repositories: the list, one of them, adding, testing, reading, changing and removing one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from portal.operations.errors import OperationError
from portal.vaults.models import Repository
from portal.vaults.repositories import (
    repository_add,
    repository_remove,
    repository_test,
    repository_update,
)
from portal.vaults.repository_selectors import RepositoryView, repository_get, repository_list
from portal.vaults.selectors import repository_warnings
from portal.web.actions import refuse, start
from portal.web.forms_repositories import FORMS, PlaceForm
from portal.web.pages import operators_only, page, user_of

FOREIGN_SHOWN = 20


@require_safe
def repositories(request: HttpRequest) -> HttpResponse:
    return page(request, "repositories", {"rows": repository_list(), "warnings": repository_warnings()})


@require_safe
def repository_one(request: HttpRequest, repository: str) -> HttpResponse:
    return _one(request, _get(repository))


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def repository_new(request: HttpRequest) -> HttpResponse:
    """Add a repository: the kind is chosen by links, so that each form asks for nothing that it does not need."""
    form = _form(request.POST.get("kind") or request.GET.get("kind", ""), request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            return _added(request, form)
        except OperationError as refused:
            form.blame(refused.message, refused.remedy)
    return _edit(request, form, None)


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only
def repository_edit(request: HttpRequest, repository: str) -> HttpResponse:
    """Change how a repository is reached; kept only when it is found there."""
    view = _get(repository)
    form = _form(view.kind, request.POST or None, known=view.row)
    if request.method == "POST" and form.is_valid():
        try:
            repository_update(
                repository=view.row,
                url=form.url(),
                access=form.access(),
                append_only=form.cleaned_data["append_only"],
                user=user_of(request),
            )
            messages.success(request, "The repository was found there, and is reached this way from now on.")
            return redirect("repository", repository=repository)
        except OperationError as refused:
            form.blame(refused.message, refused.remedy)
    return _edit(request, form, _get(repository))


@require_POST
@operators_only
def repository_try(request: HttpRequest, repository: str) -> HttpResponse:
    """Try the place out now and show all that was found."""
    view = _get(repository)
    try:
        return _one(request, view, report=repository_test(repository=view.row))
    except OperationError as refused:
        refuse(request, refused)
        return redirect("repository", repository=repository)


@require_POST
@operators_only
def repository_read(request: HttpRequest, repository: str) -> HttpResponse:
    """Read what lies in it into the lists."""
    scope = _get(repository).row.scope
    return start(request, "repository.adopt", scope, {}, back="repository", repository=repository)


@require_POST
@operators_only
def repository_delete(request: HttpRequest, repository: str) -> HttpResponse:
    """Take a repository whose name was typed off the lists; its data and its password stay."""
    try:
        kept = repository_remove(
            repository=_get(repository).row, confirm=request.POST.get("name", "").strip(), user=user_of(request)
        )
    except OperationError as refused:
        refuse(request, refused)
        return redirect("repository", repository=repository)
    where = f" Its password is kept in {kept[0]}." if kept else ""
    messages.success(request, f"{repository} is off the lists; what lies in it stays.{where}")
    return redirect("repositories")


def _added(request: HttpRequest, form: PlaceForm) -> HttpResponse:
    """Raises: OperationError: the place cannot be used."""
    given = form.cleaned_data
    added = repository_add(
        name=given["name"],
        url=form.url(),
        password=form.secret(),
        access=form.access(),
        append_only=given["append_only"],
        create_bucket=given.get("create_bucket", False),
        user=user_of(request),
    )
    if added.adopting:
        messages.success(request, f"{given['name']} was there already: it is adopted, and being read now.")
    else:
        messages.success(
            request,
            f"{given['name']} was made. Its password lies in {added.repository.password_file}: keep a copy elsewhere.",
        )
    return redirect("repository", repository=added.repository.name)


def _one(request: HttpRequest, view: RepositoryView, *, report: dict[str, Any] | None = None) -> HttpResponse:
    row = view.row
    context = {
        "view": view,
        "row": row,
        "report": report,
        "plans": row.plans.order_by("name"),
        "newest": row.sets.filter(removed_at=None)[:5],
        "foreign": row.foreign_snapshots.all()[:FOREIGN_SHOWN],
    }
    return page(request, "repositories/one", context)


def _edit(request: HttpRequest, form: PlaceForm, view: RepositoryView | None) -> HttpResponse:
    context = {"form": form, "kinds": list(FORMS.values()), "view": view}
    return page(request, "repositories/edit", context, status=422 if form.errors else 200)


def _form(kind: str, data: Any, *, known: Repository | None = None) -> PlaceForm:  # noqa: ANN401 - a QueryDict
    return FORMS.get(kind, FORMS["local"])(data, known=known)


def _get(name: str) -> RepositoryView:
    """Raises: Http404: there is no such repository."""
    try:
        return repository_get(name)
    except Repository.DoesNotExist:
        raise Http404("repository") from None
