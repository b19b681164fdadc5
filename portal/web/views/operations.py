"""Operations: the list, one of them live, cancelling it."""

from __future__ import annotations

import uuid

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from portal.operations.errors import OperationError
from portal.operations.models import Operation
from portal.operations.selectors import operation_children, operation_get, operation_log, operation_steps
from portal.operations.services import operation_cancel
from portal.vaults.models import Drill
from portal.web.actions import refuse
from portal.web.pages import operators_only, page, user_of
from portal.web.services import address_of

PER_PAGE = 25
LOG_LINES = 300


@require_safe
def operations(request: HttpRequest) -> HttpResponse:
    rows = Operation.objects.filter(parent=None).select_related("created_by")
    return page(request, "operations", {"page": Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))})


@require_safe
def operation(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    found = _get(operation_id)
    context = {
        "operation": found,
        "there": address_of(found.target),
        "steps": operation_steps(found),
        "children": operation_children(found),
        "drill": Drill.objects.filter(operation=found).first(),
        "log": operation_log(found, limit=LOG_LINES),
    }
    # 286 makes htmx swap once more and then stop polling.
    over = found.is_finished and request.headers.get("HX-Request") == "true"
    return page(request, "operations/one", context, status=286 if over else 200)


@require_POST
@operators_only
def operation_stop(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    try:
        operation_cancel(operation=_get(operation_id), user=user_of(request))
    except OperationError as refused:
        refuse(request, refused)
    return redirect("operation", operation_id=operation_id)


@require_safe
def operation_log_download(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    found = _get(operation_id)
    lines = (f"{x.at:%Y-%m-%dT%H:%M:%S.%fZ} {x.level:<7} {x.text}" for x in operation_log(found, limit=100_000))
    disposition = {"Content-Disposition": f'attachment; filename="{found.kind}-{found.pk}.log"'}
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain; charset=utf-8", headers=disposition)


def _get(operation_id: uuid.UUID) -> Operation:
    try:
        return operation_get(operation_id)
    except Operation.DoesNotExist:
        raise Http404("operation") from None
