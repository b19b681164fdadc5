"""What can be cleaned up: shown with what it frees, then removed as an operation."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from portal.cleanup.pieces import TITLES, Piece, Sort
from portal.cleanup.services import cleanup_look
from portal.doctor.kinds import MACHINE
from portal.operations.errors import OperationFailed
from portal.web.actions import start
from portal.web.pages import operators_only, page

SHOWN = 50


@require_safe
@operators_only
def clean_up(request: HttpRequest) -> HttpResponse:
    """Looks now; removes nothing."""
    fault = None
    found: list[Piece] = []
    try:
        found = cleanup_look()
    except OperationFailed as failed:
        fault = failed
    groups = [_group(sort, [piece for piece in found if piece.sort is sort]) for sort in Sort]
    context = {
        "groups": [group for group in groups if group["count"]],
        "bytes": sum(piece.bytes or 0 for piece in found),
        "fault": fault,
    }
    return page(request, "stack/cleanup", context)


def _group(sort: Sort, found: list[Piece]) -> dict[str, object]:
    largest = sorted(found, key=lambda piece: -(piece.bytes or 0))
    return {
        "sort": str(sort),
        "title": TITLES[sort],
        "count": len(found),
        "bytes": sum(piece.bytes or 0 for piece in found),
        "shown": largest[:SHOWN],
        "more": max(0, len(found) - SHOWN),
    }


@require_POST
@operators_only
def clean_up_start(request: HttpRequest) -> HttpResponse:
    return start(request, "cleanup", MACHINE, {"sorts": request.POST.getlist("sorts")}, back="clean-up")
