"""Response headers that confine a page to this origin, and the answer to a partial whose session has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Pages show what only the signed-in reader may see: no copy in the browser's or a proxy's cache.
    "Cache-Control": "no-store",
}

Sync = Callable[[HttpRequest], HttpResponseBase]
Async = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class PageSecurity:
    """Middleware, at home in sync and async stacks: adds `HEADERS` where a view has not set its own."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Sync | Async) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._answer(request)
        return _secured(request, cast(Sync, self.get_response)(request))

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        return _secured(request, await cast(Async, self.get_response)(request))


def _secured(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if _lost_session(request, response):
        response = HttpResponse(status=401, headers={"HX-Refresh": "true"})
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _lost_session(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Whether a partial was asked for and the sign-in page would be put in its place."""
    if request.headers.get("HX-Request") != "true" or response.status_code != 302:
        return False
    return response.headers.get("Location", "").startswith(resolve_url(settings.LOGIN_URL))
