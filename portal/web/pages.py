"""Answering with a page, or with the panel of it that a live page fetches again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def page(request: HttpRequest, name: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Render `web/<name>/page.html`, or for an htmx request only its `panel.html`."""
    part = "panel" if request.headers.get("HX-Request") == "true" else "page"
    response = render(request, f"web/{name}/{part}.html", context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response


def operators_only(view: View[P]) -> View[P]:
    """Admit administrators; anybody else who is signed in gets 403 and a sentence.

    Raises:
        PermissionDenied: the account is not an administrator's.
    """

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not request.user.is_staff:
            raise PermissionDenied("Only administrators may do this. Ask one, or sign in with another account.")
        return view(request, *args, **kwargs)

    return guarded


def user_of(request: HttpRequest) -> User:
    """The signed-in account; every view is behind the sign-in."""
    return cast(User, request.user)
