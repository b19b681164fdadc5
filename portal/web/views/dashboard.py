"""The first page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from portal.web.overview import overview_get
from portal.web.pages import page


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    return page(request, "dashboard", {"overview": overview_get()})
